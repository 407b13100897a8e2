package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// streams is what a command has of the world: its files, environment and directory.
// A command gets it as an argument because the shell runs commands in its own process.
type streams struct {
	in        io.Reader
	out, err  io.Writer
	environ   []string
	directory string
}

func (s streams) fail(code int, format string, values ...any) int {
	fmt.Fprintf(s.err, format+"\n", values...)
	return code
}

func (s streams) path(name string) string {
	if s.directory == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(s.directory, name)
}

// command runs with the arguments after its name and returns its exit status.
type command func(ctx context.Context, s streams, args []string) int

// commands are what a tutorial's pod runs: enough for probes, loops and requests.
// It is filled at start because the shell is in it and looks into it.
var commands map[string]command

func init() {
	commands = map[string]command{
		"true":     func(context.Context, streams, []string) int { return 0 },
		"false":    func(context.Context, streams, []string) int { return 1 },
		"sh":       shell,
		"ash":      shell,
		"bash":     shell,
		"dash":     shell,
		"echo":     echo,
		"printenv": printEnvironment,
		"env":      printEnvironment,
		"hostname": hostname,
		"sleep":    sleep,
		"date":     date,
		"id":       id,
		"whoami":   id,
		"uname":    uname,
		"seq":      seq,
		"cat":      cat,
		"grep":     grep,
		"head":     head,
		"tail":     tailFile,
		"wc":       wc,
		"ls":       ls,
		"touch":    touch,
		"rm":       remove,
		"mkdir":    makeDirectory,
		"wget":     wget,
		"curl":     curl,
		"nslookup": nslookup,
		"nc":       nc,
	}
}

func commandNames() string {
	names := make([]string, 0, len(commands))
	for name := range commands {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// refuse explains an option the stand-in does not have.
func (s streams) refuse(name string, err error) int {
	return s.fail(2, "%s: %v (this is the lab's stand-in for %s, with few options)", name, err, name)
}

func echo(_ context.Context, s streams, args []string) int {
	end := "\n"
	if len(args) > 0 && args[0] == "-n" {
		end, args = "", args[1:]
	}
	fmt.Fprint(s.out, strings.Join(args, " "), end)
	return 0
}

func printEnvironment(_ context.Context, s streams, args []string) int {
	missing := 0
	for _, name := range args {
		found := false
		for _, item := range s.environ {
			if value, ok := strings.CutPrefix(item, name+"="); ok {
				fmt.Fprintln(s.out, value)
				found = true
			}
		}
		if !found {
			missing = 1
		}
	}
	if len(args) == 0 {
		for _, item := range s.environ {
			fmt.Fprintln(s.out, item)
		}
	}
	return missing
}

func hostname(_ context.Context, s streams, args []string) int {
	if len(args) > 0 && strings.Contains(args[0], "i") {
		fmt.Fprintln(s.out, os.Getenv("POD_IP"))
		return 0
	}
	name, _ := os.Hostname()
	fmt.Fprintln(s.out, name)
	return 0
}

func sleep(ctx context.Context, s streams, args []string) int {
	total := time.Duration(0)
	for _, arg := range args {
		if arg == "infinity" || arg == "inf" {
			arg = "876000h"
		}
		if d, err := strconv.ParseFloat(arg, 64); err == nil {
			total += time.Duration(d * float64(time.Second))
		} else if d, err := time.ParseDuration(strings.Replace(arg, "d", "h", 1)); err == nil {
			if strings.HasSuffix(arg, "d") {
				d *= 24
			}
			total += d
		} else {
			return s.fail(1, "sleep: %q is not a time such as 5, 0.5, 2m", arg)
		}
	}
	if len(args) == 0 {
		return s.fail(1, "sleep: for how long?")
	}
	select {
	case <-time.After(total):
		return 0
	case <-ctx.Done():
		return 1
	}
}

func date(_ context.Context, s streams, args []string) int {
	now := time.Now().UTC()
	if len(args) > 0 && args[len(args)-1] == "+%s" {
		fmt.Fprintln(s.out, now.Unix())
	} else {
		fmt.Fprintln(s.out, now.Format("Mon Jan _2 15:04:05 UTC 2006"))
	}
	return 0
}

func id(_ context.Context, s streams, args []string) int {
	switch {
	case len(args) > 0 && args[0] == "-u":
		fmt.Fprintln(s.out, os.Getuid())
	case len(args) > 0 && args[0] == "-g":
		fmt.Fprintln(s.out, os.Getgid())
	default:
		groups, _ := os.Getgroups()
		fmt.Fprintf(s.out, "uid=%d gid=%d groups=%v\n", os.Getuid(), os.Getgid(), groups)
	}
	return 0
}

func uname(_ context.Context, s streams, _ []string) int {
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	name, _ := os.Hostname()
	fmt.Fprintf(s.out, "Linux %s %s\n", name, strings.TrimSpace(string(release)))
	return 0
}

func seq(_ context.Context, s streams, args []string) int {
	first, last := 1, 0
	var err error
	switch len(args) {
	case 1:
		last, err = strconv.Atoi(args[0])
	case 2:
		if first, err = strconv.Atoi(args[0]); err == nil {
			last, err = strconv.Atoi(args[1])
		}
	default:
		err = fmt.Errorf("say seq LAST or seq FIRST LAST")
	}
	if err != nil {
		return s.fail(1, "seq: %v", err)
	}
	for n := first; n <= last; n++ {
		fmt.Fprintln(s.out, n)
	}
	return 0
}

func grep(_ context.Context, s streams, args []string) int {
	var quiet, invert, ignore, only, count bool
	rest, err := options(args, func(name string, _ func() string) error {
		switch name {
		case "-q":
			quiet = true
		case "-v":
			invert = true
		case "-i":
			ignore = true
		case "-o":
			only = true
		case "-c":
			count = true
		case "-E":
		default:
			return fmt.Errorf("unknown option %s", name)
		}
		return nil
	})
	if err != nil || len(rest) == 0 {
		return s.refuse("grep", fmt.Errorf("%w; say grep [-qviocE] PATTERN [FILE]", orNothing(err, rest)))
	}
	pattern := rest[0]
	if ignore {
		pattern = "(?i)" + pattern
	}
	expression, err := regexp.Compile(pattern)
	if err != nil {
		return s.refuse("grep", err)
	}
	found := 0
	bad := s.each("grep", rest[1:], func(in io.Reader) {
		for lines := bufio.NewScanner(in); lines.Scan(); {
			line := lines.Text()
			if expression.MatchString(line) == invert {
				continue
			}
			found++
			switch {
			case quiet || count:
			case only:
				fmt.Fprintln(s.out, strings.Join(expression.FindAllString(line, -1), "\n"))
			default:
				fmt.Fprintln(s.out, line)
			}
		}
	})
	if count {
		fmt.Fprintln(s.out, found)
	}
	switch {
	case bad != 0:
		return 2
	case found == 0:
		return 1
	}
	return 0
}
