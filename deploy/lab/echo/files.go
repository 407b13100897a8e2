package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// each gives every named file, or standard input where none is named, to `use`;
// it returns 1 when one could not be read.
func (s streams) each(name string, files []string, use func(io.Reader)) int {
	if len(files) == 0 {
		files = []string{"-"}
	}
	code := 0
	for _, file := range files {
		if file == "-" {
			if s.in != nil {
				use(s.in)
			}
			continue
		}
		opened, err := os.Open(s.path(file))
		if err != nil {
			code = s.fail(1, "%s: %v", name, err)
			continue
		}
		use(opened)
		opened.Close()
	}
	return code
}

func cat(_ context.Context, s streams, args []string) int {
	return s.each("cat", args, func(in io.Reader) { io.Copy(s.out, in) })
}

// lineCount reads -n N, -nN and -N; the rest are files.
func lineCount(args []string) (count int, follow bool, files []string) {
	count = 10
	for i := 0; i < len(args); i++ {
		switch arg := args[i]; {
		case arg == "-n" && i+1 < len(args):
			i++
			count, _ = strconv.Atoi(args[i])
		case arg == "-f" || arg == "-F":
			follow = true
		case strings.HasPrefix(arg, "-") && len(arg) > 1:
			count, _ = strconv.Atoi(strings.TrimPrefix(arg[1:], "n"))
		default:
			files = append(files, arg)
		}
	}
	return count, follow, files
}

func head(_ context.Context, s streams, args []string) int {
	count, _, files := lineCount(args)
	return s.each("head", files, func(in io.Reader) {
		lines := bufio.NewScanner(in)
		for n := 0; n < count && lines.Scan(); n++ {
			fmt.Fprintln(s.out, lines.Text())
		}
	})
}

// tailFile is tail; `tail -f /dev/null` is how many a pod waits for ever.
func tailFile(ctx context.Context, s streams, args []string) int {
	count, follow, files := lineCount(args)
	return s.each("tail", files, func(in io.Reader) {
		var last []string
		for lines := bufio.NewScanner(in); lines.Scan(); {
			if last = append(last, lines.Text()); len(last) > count {
				last = last[1:]
			}
		}
		for _, line := range last {
			fmt.Fprintln(s.out, line)
		}
		for follow && ctx.Err() == nil {
			io.Copy(s.out, in)
			sleep(ctx, s, []string{"0.2"})
		}
	})
}

func wc(_ context.Context, s streams, args []string) int {
	lines := len(args) > 0 && args[0] == "-l"
	if lines {
		args = args[1:]
	}
	return s.each("wc", args, func(in io.Reader) {
		text, _ := io.ReadAll(in)
		count := strings.Count(string(text), "\n")
		if lines {
			fmt.Fprintln(s.out, count)
		} else {
			fmt.Fprintln(s.out, count, len(strings.Fields(string(text))), len(text))
		}
	})
}

func ls(_ context.Context, s streams, args []string) int {
	code, long := 0, false
	var names []string
	for _, arg := range args {
		if strings.HasPrefix(arg, "-") {
			long = long || strings.Contains(arg, "l")
		} else {
			names = append(names, arg)
		}
	}
	if len(names) == 0 {
		names = []string{"."}
	}
	show := func(info os.FileInfo) {
		if long {
			fmt.Fprintf(s.out, "%s %10d %s %s\n", info.Mode(), info.Size(), info.ModTime().UTC().Format(time.DateTime), info.Name())
		} else {
			fmt.Fprintln(s.out, info.Name())
		}
	}
	for _, name := range names {
		info, err := os.Stat(s.path(name))
		if err != nil {
			code = s.fail(1, "ls: %v", err)
			continue
		}
		if !info.IsDir() {
			show(info)
			continue
		}
		entries, err := os.ReadDir(s.path(name))
		if err != nil {
			code = s.fail(1, "ls: %v", err)
		}
		for _, entry := range entries {
			if info, err := entry.Info(); err == nil {
				show(info)
			}
		}
	}
	return code
}

func touch(_ context.Context, s streams, args []string) int {
	code := 0
	for _, name := range args {
		file, err := os.OpenFile(s.path(name), os.O_CREATE|os.O_WRONLY, 0o666)
		if err != nil {
			code = s.fail(1, "touch: %v", err)
			continue
		}
		file.Close()
		now := time.Now()
		os.Chtimes(s.path(name), now, now)
	}
	return code
}

func remove(_ context.Context, s streams, args []string) int {
	code, force, recursive := 0, false, false
	for _, arg := range args {
		if strings.HasPrefix(arg, "-") {
			force = force || strings.Contains(arg, "f")
			recursive = recursive || strings.ContainsAny(arg, "rR")
			continue
		}
		erase := os.Remove
		if recursive {
			erase = os.RemoveAll
		}
		if err := erase(s.path(arg)); err != nil && !(force && os.IsNotExist(err)) {
			code = s.fail(1, "rm: %v", err)
		}
	}
	return code
}

func makeDirectory(_ context.Context, s streams, args []string) int {
	code, make := 0, func(name string) error { return os.Mkdir(name, 0o777) }
	for _, arg := range args {
		if arg == "-p" {
			make = func(name string) error { return os.MkdirAll(name, 0o777) }
		} else if err := make(s.path(arg)); err != nil {
			code = s.fail(1, "mkdir: %v", err)
		}
	}
	return code
}
