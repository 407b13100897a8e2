package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
)

// request is what wget and curl both come down to.
type request struct {
	method, url, data, save string
	headers                 http.Header
	host                    string
	timeout                 time.Duration
	insecure, showHead      bool
	quiet, failOnStatus     bool
	follow                  bool
	network                 string
}

func (r request) do(ctx context.Context, s streams, name string) int {
	if !strings.Contains(r.url, "://") {
		r.url = "http://" + r.url
	}
	if r.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.timeout)
		defer cancel()
	}
	wanted, err := http.NewRequestWithContext(ctx, r.method, r.url, strings.NewReader(r.data))
	if err != nil {
		return s.fail(3, "%s: %v", name, err)
	}
	wanted.Header = r.headers
	if wanted.Header.Get("User-Agent") == "" {
		wanted.Header.Set("User-Agent", name)
	}
	wanted.Host = r.host
	dialer := &net.Dialer{}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: r.insecure},
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return dialer.DialContext(ctx, r.network, address)
		},
	}}
	if !r.follow {
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	response, err := client.Do(wanted)
	if err != nil {
		if r.quiet {
			return 7
		}
		return s.fail(7, "%s: %v", name, err)
	}
	defer response.Body.Close()
	if r.failOnStatus && response.StatusCode >= 400 {
		if r.quiet {
			return 22
		}
		return s.fail(22, "%s: server returned error: %s", name, response.Status)
	}
	out := s.out
	if r.save != "" && r.save != "-" {
		file, err := os.Create(s.path(r.save))
		if err != nil {
			return s.fail(23, "%s: %v", name, err)
		}
		defer file.Close()
		out = file
	}
	if r.showHead {
		fmt.Fprintf(out, "%s %s\r\n", response.Proto, response.Status)
		response.Header.Write(out)
		fmt.Fprint(out, "\r\n")
	}
	if _, err := io.Copy(out, response.Body); err != nil {
		return s.fail(18, "%s: %v", name, err)
	}
	return 0
}

// options walks short options that may be joined (-qO-, -sS) and long ones
// (--timeout=2, --timeout 2); `take` is told each with a function for its value.
func options(args []string, take func(name string, value func() string) error) ([]string, error) {
	var rest []string
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		next := func() string {
			if len(args) == 0 {
				return ""
			}
			value := args[0]
			args = args[1:]
			return value
		}
		switch {
		case strings.HasPrefix(arg, "--"):
			name, value, joined := strings.Cut(arg, "=")
			if joined {
				next = func() string { return value }
			}
			if err := take(name, next); err != nil {
				return nil, err
			}
		case len(arg) > 1 && arg[0] == '-':
			for i := 1; i < len(arg); i++ {
				inside, used := arg[i+1:], false
				value := func() string {
					used = true
					if inside != "" {
						return inside
					}
					return next()
				}
				if err := take("-"+arg[i:i+1], value); err != nil {
					return nil, err
				}
				if used {
					break
				}
			}
		default:
			rest = append(rest, arg)
		}
	}
	return rest, nil
}

func seconds(text string) time.Duration {
	n, _ := strconv.ParseFloat(strings.TrimSuffix(text, "s"), 64)
	return time.Duration(n * float64(time.Second))
}

func (r *request) header(text string) {
	name, value, _ := strings.Cut(text, ":")
	if strings.EqualFold(name, "host") {
		r.host = strings.TrimSpace(value)
	}
	r.headers.Add(name, strings.TrimSpace(value))
}

func wget(ctx context.Context, s streams, args []string) int {
	r := request{method: "GET", headers: http.Header{}, follow: true, failOnStatus: true, network: "tcp", timeout: 15 * time.Minute}
	spider := false
	urls, err := options(args, func(name string, value func() string) error {
		switch name {
		case "-q", "--quiet":
			r.quiet = true
		case "-O", "--output-document":
			r.save = value()
		case "-T", "--timeout":
			r.timeout = seconds(value())
		case "-t", "--tries":
			value()
		case "-S", "--server-response":
			r.showHead = true
		case "--spider":
			spider = true
		case "--header":
			r.header(value())
		case "--post-data":
			r.method, r.data = "POST", value()
		case "--no-check-certificate":
			r.insecure = true
		default:
			return fmt.Errorf("unknown option %s", name)
		}
		return nil
	})
	if err != nil || len(urls) != 1 {
		return s.refuse("wget", fmt.Errorf("%w; say wget [-q] [-O FILE] [-T SECONDS] [--spider] URL", orNothing(err, urls)))
	}
	r.url = urls[0]
	if spider {
		r.method = "HEAD"
	} else if r.save == "" {
		if r.save = path.Base(r.url); !strings.Contains(strings.TrimPrefix(r.url, "http://"), "/") || r.save == "/" {
			r.save = "index.html"
		}
	}
	if code := r.do(ctx, s, "wget"); code != 0 {
		return 1
	}
	return 0
}

func curl(ctx context.Context, s streams, args []string) int {
	r := request{headers: http.Header{}, network: "tcp"}
	showErrors := false
	urls, err := options(args, func(name string, value func() string) error {
		switch name {
		case "-s", "--silent":
			r.quiet = true
		case "-S", "--show-error":
			showErrors = true
		case "-f", "--fail":
			r.failOnStatus = true
		case "-k", "--insecure":
			r.insecure = true
		case "-L", "--location":
			r.follow = true
		case "-i", "--include":
			r.showHead = true
		case "-I", "--head":
			r.method, r.showHead = "HEAD", true
		case "-4", "--ipv4":
			r.network = "tcp4"
		case "-6", "--ipv6":
			r.network = "tcp6"
		case "-v", "--verbose", "-N", "--no-buffer", "-g", "--globoff":
		case "-m", "--max-time", "--connect-timeout":
			r.timeout = seconds(value())
		case "-o", "--output":
			if r.save = value(); r.save == "/dev/null" {
				s.out, r.save = io.Discard, ""
			}
		case "-H", "--header":
			r.header(value())
		case "-X", "--request":
			r.method = value()
		case "-d", "--data":
			r.data = value()
		default:
			return fmt.Errorf("unknown option %s", name)
		}
		return nil
	})
	if err != nil || len(urls) != 1 {
		return s.refuse("curl", fmt.Errorf("%w; say curl [-sSfkLiI46] [-m SECONDS] [-o FILE] [-H HEADER] [-X METHOD] [-d DATA] URL", orNothing(err, urls)))
	}
	r.url = urls[0]
	r.quiet = r.quiet && !showErrors
	if r.method == "" {
		r.method = "GET"
		if r.data != "" {
			r.method = "POST"
			r.headers.Set("Content-Type", "application/x-www-form-urlencoded")
		}
	}
	return r.do(ctx, s, "curl")
}

func orNothing(err error, rest []string) error {
	if err == nil {
		err = fmt.Errorf("%d arguments", len(rest))
	}
	return err
}

func nslookup(ctx context.Context, s streams, args []string) int {
	if len(args) == 0 {
		return s.refuse("nslookup", fmt.Errorf("say nslookup NAME"))
	}
	addresses, err := net.DefaultResolver.LookupHost(ctx, args[0])
	if err != nil {
		return s.fail(1, "nslookup: %v", err)
	}
	for _, address := range addresses {
		fmt.Fprintf(s.out, "Name: %s\nAddress: %s\n", args[0], address)
	}
	return 0
}

// nc connects to HOST PORT and joins it to the standard streams; -z only connects,
// -u is UDP, -w SECONDS bounds the wait.
func nc(ctx context.Context, s streams, args []string) int {
	network, only, wait := "tcp", false, time.Duration(0)
	rest, err := options(args, func(name string, value func() string) error {
		switch name {
		case "-z":
			only = true
		case "-u":
			network = "udp"
		case "-w":
			wait = seconds(value())
		case "-v", "-n", "-N":
		default:
			return fmt.Errorf("unknown option %s", name)
		}
		return nil
	})
	if err != nil || len(rest) != 2 {
		return s.refuse("nc", fmt.Errorf("%w; say nc [-z] [-u] [-w SECONDS] HOST PORT", orNothing(err, rest)))
	}
	dialer := net.Dialer{Timeout: wait}
	conn, err := dialer.DialContext(ctx, network, net.JoinHostPort(rest[0], rest[1]))
	if err != nil {
		return s.fail(1, "nc: %v", err)
	}
	defer conn.Close()
	if only {
		return 0
	}
	if wait > 0 {
		conn.SetDeadline(time.Now().Add(wait))
	}
	go func() {
		if s.in != nil {
			io.Copy(conn, s.in)
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			tcp.CloseWrite()
		}
	}()
	io.Copy(s.out, conn)
	return 0
}
