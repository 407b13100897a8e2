package main

import (
	"fmt"
	"strconv"
	"strings"
)

// port is one socket to serve: a number and "tcp" or "udp".
type port struct {
	network string
	number  int
}

// defaultPorts serve where the pod declares no port: those that images of tutorials
// listen on without saying so.
const defaultPorts = "80,8080"

// parsePorts reads a list such as "8080/TCP,53/UDP,9000": a number alone means both
// protocols, "none" means no port. The second result says whether the list was given
// (a given port that cannot be served is an error of the pod, a default one is not).
func parsePorts(text string) ([]port, bool, error) {
	declared := strings.TrimSpace(text) != ""
	if text == "none" {
		return nil, true, nil
	}
	if !declared {
		text = defaultPorts
	}
	var ports []port
	seen := map[port]bool{}
	for _, item := range strings.Split(text, ",") {
		number, protocol, _ := strings.Cut(strings.TrimSpace(item), "/")
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || n > 65535 {
			return nil, declared, fmt.Errorf("%q is not PORT or PORT/PROTOCOL with a port of 1 to 65535", item)
		}
		var networks []string
		switch strings.ToUpper(protocol) {
		case "":
			networks = []string{"tcp", "udp"}
		case "TCP", "UDP":
			networks = []string{strings.ToLower(protocol)}
		case "SCTP": // a pod may declare it; nothing here speaks it
		default:
			return nil, declared, fmt.Errorf("%q: the protocol is TCP or UDP", item)
		}
		for _, network := range networks {
			if p := (port{network, n}); !seen[p] {
				seen[p] = true
				ports = append(ports, p)
			}
		}
	}
	return ports, declared, nil
}
