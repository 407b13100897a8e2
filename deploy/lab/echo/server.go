package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// identity is who answers.
type identity struct {
	Pod       string `json:"pod"`
	Namespace string `json:"namespace"`
	Node      string `json:"node"`
	PodIP     string `json:"podIP"`
}

// answer is what every protocol answers with, as one line of JSON. Client and Local
// are the two ends of the connection as this process saw them: Client is what is left
// of the client's address after kube-proxy.
type answer struct {
	identity
	Protocol   string            `json:"protocol"`
	Client     string            `json:"client"`
	ClientPort uint16            `json:"clientPort"`
	Local      string            `json:"local"`
	LocalPort  uint16            `json:"localPort"`
	Method     string            `json:"method,omitempty"`
	Path       string            `json:"path,omitempty"`
	Host       string            `json:"host,omitempty"`
	Headers    map[string]string `json:"headers,omitempty"`
	Data       string            `json:"data,omitempty"`
}

// server answers on the sockets it was told to listen on.
type server struct {
	me      identity
	http    *http.Server
	sockets []io.Closer
	// ready and healthy are what /readyz and /healthz say; tests switch them.
	ready, healthy atomic.Bool
	logging        sync.Mutex
	out            io.Writer
}

func identityFromEnvironment() identity {
	me := identity{
		Pod:       os.Getenv("POD_NAME"),
		Namespace: os.Getenv("POD_NAMESPACE"),
		Node:      os.Getenv("NODE_NAME"),
		PodIP:     os.Getenv("POD_IP"),
	}
	if me.Pod == "" {
		me.Pod, _ = os.Hostname()
	}
	return me
}

func newServer(me identity, out io.Writer) *server {
	s := &server{me: me, out: out}
	s.ready.Store(os.Getenv("LAB_READY") != "false")
	s.healthy.Store(true)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s.http = &http.Server{Handler: s.routes(), Protocols: protocols, ReadHeaderTimeout: time.Minute}
	return s
}

func (s *server) log(format string, values ...any) {
	s.logging.Lock()
	defer s.logging.Unlock()
	fmt.Fprintf(s.out, "%s %s\n", time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), fmt.Sprintf(format, values...))
}

// listen opens one socket, for both address families, and serves it in the background.
func (s *server) listen(p port) error {
	if p.network == "udp" {
		return s.listenUDP(p.number)
	}
	listener, err := net.Listen("tcp", fmt.Sprintf(":%d", p.number))
	if err != nil {
		return fmt.Errorf("cannot listen on %d/TCP: %w", p.number, err)
	}
	s.sockets = append(s.sockets, listener)
	s.log("listening on %d/TCP", listener.Addr().(*net.TCPAddr).Port)
	handover := &handover{Listener: listener, conns: make(chan net.Conn), done: make(chan struct{})}
	go s.accept(listener, handover)
	go s.http.Serve(handover)
	return nil
}

// close ends all sockets; requests under way get a second.
func (s *server) close() {
	for _, socket := range s.sockets {
		socket.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s.http.Shutdown(ctx)
}

// handover gives the HTTP server those connections that turned out to speak HTTP.
type handover struct {
	net.Listener
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (h *handover) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *handover) Close() error {
	h.once.Do(func() { close(h.done) })
	return h.Listener.Close()
}

// begun is a connection some bytes of which were read already.
type begun struct {
	net.Conn
	reader *bufio.Reader
}

func (b *begun) Read(p []byte) (int, error) { return b.reader.Read(p) }

func (s *server) accept(listener net.Listener, h *handover) {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of file descriptors, for one
			s.log("accept: %v", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		go func() {
			b := &begun{Conn: conn, reader: bufio.NewReader(conn)}
			if speaksHTTP(b.reader) {
				select {
				case h.conns <- b:
				case <-h.done:
					b.Close()
				}
			} else {
				s.answerLines(b)
			}
		}()
	}
}

var methods = []string{"GET ", "HEAD ", "POST ", "PUT ", "PATCH ", "DELETE ", "OPTIONS ", "CONNECT ", "TRACE ", "PRI "}

// speaksHTTP reads as few bytes as tell an HTTP request from anything else.
func speaksHTTP(reader *bufio.Reader) bool {
	for n := 1; ; n++ {
		head, err := reader.Peek(n)
		possible := false
		for _, method := range methods {
			if string(head) == method {
				return true
			}
			possible = possible || strings.HasPrefix(method, string(head))
		}
		if err != nil || !possible {
			return false
		}
	}
}

// answerLines answers each line of a plain TCP connection, and a client that sends
// nothing but the end of its data once.
func (s *server) answerLines(conn *begun) {
	defer conn.Close()
	a := s.answerTo("TCP", conn.RemoteAddr(), conn.LocalAddr())
	for answered := false; ; answered = true {
		line, err := conn.reader.ReadString('\n')
		if errors.Is(err, io.EOF) && (line != "" || !answered) || err == nil {
			a.Data = shorten(strings.TrimRight(line, "\r\n"))
			s.log("TCP %s -> %d %q", conn.RemoteAddr(), a.LocalPort, a.Data)
			if _, werr := conn.Write(a.line()); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (s *server) answerTo(protocol string, client, local net.Addr) answer {
	c, l := endpoint(client), endpoint(local)
	return answer{
		identity: s.me, Protocol: protocol,
		Client: c.Addr().String(), ClientPort: c.Port(),
		Local: l.Addr().String(), LocalPort: l.Port(),
	}
}

func endpoint(address net.Addr) netip.AddrPort {
	if address == nil {
		return netip.AddrPort{}
	}
	parsed, _ := netip.ParseAddrPort(address.String())
	return netip.AddrPortFrom(parsed.Addr().Unmap(), parsed.Port())
}

func (a answer) line() []byte {
	text, _ := json.Marshal(a)
	return append(text, '\n')
}

// shorten keeps a datagram's answer within one packet.
func shorten(text string) string {
	if len(text) > 256 {
		return text[:256]
	}
	return text
}
