// Command echo stands in for every image of the lab: a server that tells who
// answered and how the client was seen, the sandbox process of a pod, and the few
// commands a tutorial's pod runs. It is one static binary under many names, as
// busybox is: the name it is called by says what it is. A name it does not know is
// taken for a server's (nginx, httpd, python), so it serves.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path"
	"syscall"
)

func main() {
	name, args := call(os.Args)
	s := streams{in: os.Stdin, out: os.Stdout, err: os.Stderr, environ: os.Environ()}
	if name == "pause" {
		pause()
		return
	}
	if command := commands[name]; command != nil {
		os.Exit(command(context.Background(), s, args))
	}
	os.Exit(serve(os.Args))
}

// call says which name this process was called by, and with what. A pod without a
// command of its own runs its args with our entrypoint, where the real image might
// have had none (busybox, ubuntu): args that name a command of ours are that call.
func call(argv []string) (string, []string) {
	name, args := path.Base(argv[0]), argv[1:]
	if (name == "server" || name == "busybox") && len(args) > 0 {
		if inner := path.Base(args[0]); commands[inner] != nil || inner == "pause" {
			return inner, args[1:]
		}
	}
	return name, args
}

// serve answers on every port until it is told to end.
func serve(argv []string) int {
	ports, declared, err := parsePorts(os.Getenv("LAB_PORTS"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "LAB_PORTS:", err)
		return 2
	}
	server := newServer(identityFromEnvironment(), os.Stdout)
	server.log("stand-in for %q: pod %s/%s on node %s", argv, server.me.Namespace, server.me.Pod, server.me.Node)
	for _, port := range ports {
		if err := server.listen(port); err != nil {
			server.log("%v", err)
			if declared {
				return 1
			}
		}
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	server.log("got %v: ending", <-end)
	server.close()
	return 0
}

// pause is the sandbox process of a pod: it holds the namespaces, reaps what is
// left to it where the containers share its PID namespace, and ends when told.
func pause() {
	events := make(chan os.Signal, 16)
	signal.Notify(events, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	for event := range events {
		if event != syscall.SIGCHLD {
			return
		}
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if pid <= 0 || err != nil {
				break
			}
		}
	}
}
