package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// shell is sh: -c TEXT, a file, or standard input. The language is complete (an
// interpreter of its own); the commands it can call are those in the table `commands`
// and whatever else the container holds.
func shell(ctx context.Context, s streams, args []string) int {
	options, text, rest, given := shellArguments(args)
	parameters := append([]string{}, options...)
	parameters = append(parameters, "--")
	if given || len(rest) == 0 {
		parameters = append(parameters, tail(rest)...)
	} else {
		parameters = append(parameters, rest[1:]...)
	}
	input := s.in
	if _, isFile := s.in.(*os.File); !isFile && !given && len(rest) == 0 {
		// The interpreter would read ahead for its commands, and with that the script away.
		input = nil
	}
	runner, err := interp.New(
		interp.StdIO(input, s.out, s.err),
		interp.Env(expand.ListEnviron(s.environ...)),
		interp.Params(parameters...),
		interp.ExecHandlers(callCommands),
	)
	if err != nil {
		return s.fail(2, "sh: %v", err)
	}
	var script io.Reader = s.in
	switch {
	case given:
		script = strings.NewReader(text)
	case len(rest) > 0:
		file, err := os.Open(rest[0])
		if err != nil {
			return s.fail(127, "sh: %v", err)
		}
		defer file.Close()
		script = file
	default:
		return converse(ctx, runner, s)
	}
	program, err := syntax.NewParser().Parse(script, "sh")
	if err != nil {
		return s.fail(2, "sh: %v", err)
	}
	return status(s, runner.Run(ctx, program))
}

// shellArguments separates sh's flags (-e, -x, -ec, -lc) from the script and its arguments.
func shellArguments(args []string) (options []string, text string, rest []string, given bool) {
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		letters := args[0][1:]
		args = args[1:]
		if letters == "-" {
			break
		}
		for _, letter := range letters {
			switch letter {
			case 'c':
				given = true
			case 'e', 'u', 'x', 'f', 'n':
				options = append(options, "-"+string(letter))
			}
		}
		if letters == "o" && len(args) > 0 {
			options, args = append(options, "-o", args[0]), args[1:]
		}
	}
	if given && len(args) > 0 {
		text, args = args[0], args[1:]
	}
	return options, text, args, given
}

func tail(items []string) []string {
	if len(items) == 0 {
		return nil
	}
	return items[1:]
}

// converse reads commands one after the other, with a prompt where a person types them.
func converse(ctx context.Context, runner *interp.Runner, s streams) int {
	prompt := func(string) {}
	if file, ok := s.in.(*os.File); ok {
		if info, err := file.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 && file.Name() != os.DevNull {
			prompt = func(text string) { fmt.Fprint(s.err, text) }
		}
	}
	parser := syntax.NewParser()
	code := 0
	prompt("$ ")
	for statements, err := range parser.InteractiveSeq(s.in) {
		if err != nil {
			return s.fail(2, "sh: %v", err)
		}
		if parser.Incomplete() {
			prompt("> ")
			continue
		}
		for _, statement := range statements {
			code = status(s, runner.Run(ctx, statement))
			if runner.Exited() {
				return code
			}
		}
		prompt("$ ")
	}
	return code
}

// callCommands runs our own commands inside the shell's process, with its files,
// directory and environment; anything else is looked up as usual.
func callCommands(next interp.ExecHandlerFunc) interp.ExecHandlerFunc {
	return func(ctx context.Context, args []string) error {
		at := interp.HandlerCtx(ctx)
		name := path.Base(args[0])
		if name == "busybox" && len(args) > 1 {
			args = args[1:]
			name = args[0]
		}
		command := commands[name]
		if command == nil {
			if _, err := interp.LookPathDir(at.Dir, at.Env, args[0]); err != nil {
				fmt.Fprintf(at.Stderr, "sh: %s: not in the lab's stand-in image; it has %s\n", args[0], commandNames())
				return interp.ExitStatus(127)
			}
			return next(ctx, args)
		}
		var environ []string
		at.Env.Each(func(name string, value expand.Variable) bool {
			if value.Exported {
				environ = append(environ, name+"="+value.String())
			}
			return true
		})
		s := streams{in: at.Stdin, out: at.Stdout, err: at.Stderr, environ: environ, directory: at.Dir}
		if code := command(ctx, s, args[1:]); code != 0 {
			return interp.ExitStatus(uint8(code))
		}
		return nil
	}
}

func status(s streams, err error) int {
	var exit interp.ExitStatus
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return int(exit)
	default:
		return s.fail(1, "sh: %v", err)
	}
}
