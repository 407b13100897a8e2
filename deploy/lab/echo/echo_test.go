package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// start serves one TCP and one UDP port of the kernel's choice and returns them.
func start(t *testing.T) (tcp, udp int, log *bytes.Buffer) {
	t.Helper()
	log = &bytes.Buffer{}
	s := newServer(identity{Pod: "web-1", Namespace: "shop", Node: "node1", PodIP: "198.18.1.2"}, log)
	for _, network := range []string{"tcp", "udp"} {
		if err := s.listen(port{network, 0}); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(s.close)
	return s.sockets[0].(net.Listener).Addr().(*net.TCPAddr).Port, s.sockets[1].(*net.UDPConn).LocalAddr().(*net.UDPAddr).Port, log
}

func parse(t *testing.T, text []byte) answer {
	t.Helper()
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return a
}

func TestHTTPTellsWhoAnsweredAndHowTheClientWasSeen(t *testing.T) {
	tcp, _, _ := start(t)
	request, _ := http.NewRequest("GET", fmt.Sprintf("http://127.0.0.1:%d/some/path?x=1", tcp), nil)
	request.Host = "shop.example"
	request.Header.Set("X-Test", "yes")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	a := parse(t, body)
	want := answer{identity: identity{"web-1", "shop", "node1", "198.18.1.2"}, Protocol: "HTTP/1.1", Client: "127.0.0.1",
		ClientPort: a.ClientPort, Local: "127.0.0.1", LocalPort: uint16(tcp), Method: "GET", Path: "/some/path?x=1", Host: "shop.example"}
	headers := a.Headers
	a.Headers = nil
	if fmt.Sprint(a) != fmt.Sprint(want) || headers["X-Test"] != "yes" || headers["Host"] != "shop.example" {
		t.Fatalf("got %+v and %v, want %+v", a, headers, want)
	}
}

func TestReadinessIsSwitchedByARequest(t *testing.T) {
	tcp, _, _ := start(t)
	root := fmt.Sprintf("http://127.0.0.1:%d", tcp)
	for _, step := range []struct {
		post string
		want int
	}{{"", 200}, {"/ready?value=false", 503}, {"/ready?value=true", 200}} {
		if step.post != "" {
			response, err := http.Post(root+step.post, "", nil)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
		}
		response, err := http.Get(root + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != step.want {
			t.Fatalf("after %q: %d, want %d", step.post, response.StatusCode, step.want)
		}
	}
}

func TestAPlainTCPLineIsAnsweredOnTheHTTPPort(t *testing.T) {
	tcp, _, _ := start(t)
	for _, host := range []string{"127.0.0.1", "::1"} {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(host, fmt.Sprint(tcp)), time.Minute)
		if err != nil {
			t.Skipf("%s: %v", host, err)
		}
		reader := bufio.NewReader(conn)
		for _, line := range []string{"hi", "GETTING on"} {
			fmt.Fprintln(conn, line)
			text, err := reader.ReadBytes('\n')
			if err != nil {
				t.Fatal(err)
			}
			if a := parse(t, text); a.Protocol != "TCP" || a.Client != host || a.Local != host || a.Data != line {
				t.Fatalf("got %+v", a)
			}
		}
		conn.Close()
	}
}

func TestAConnectionThatOnlyEndsIsAnsweredOnce(t *testing.T) {
	tcp, _, _ := start(t)
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", tcp))
	if err != nil {
		t.Fatal(err)
	}
	conn.(*net.TCPConn).CloseWrite()
	text, _ := io.ReadAll(conn)
	if a := parse(t, text); a.Protocol != "TCP" || a.Data != "" {
		t.Fatalf("got %+v", a)
	}
}

func TestADatagramIsAnsweredFromTheAddressItWasSentTo(t *testing.T) {
	_, udp, _ := start(t)
	for _, host := range []string{"127.0.0.1", "127.0.0.2", "::1"} {
		// A connected socket only takes answers that come from that very address.
		conn, err := net.Dial("udp", net.JoinHostPort(host, fmt.Sprint(udp)))
		if err != nil {
			t.Skipf("%s: %v", host, err)
		}
		fmt.Fprint(conn, "n=7")
		conn.SetReadDeadline(time.Now().Add(time.Minute))
		buffer := make([]byte, 4096)
		n, err := conn.Read(buffer)
		if err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		if a := parse(t, buffer[:n]); a.Protocol != "UDP" || a.Local != host || a.Data != "n=7" || a.LocalPort != uint16(udp) {
			t.Fatalf("got %+v", a)
		}
		conn.Close()
	}
}

func TestPortsOfThePodAreRead(t *testing.T) {
	for _, row := range []struct {
		text     string
		want     string
		declared bool
		wrong    bool
	}{
		{"", "[{tcp 80} {udp 80} {tcp 8080} {udp 8080}]", false, false},
		{"none", "[]", true, false},
		{"8080/TCP,53/UDP", "[{tcp 8080} {udp 53}]", true, false},
		{"9000, 9000/TCP", "[{tcp 9000} {udp 9000}]", true, false},
		{"7/SCTP", "[]", true, false},
		{"http", "[]", true, true},
		{"0/TCP", "[]", true, true},
		{"80/ICMP", "[]", true, true},
	} {
		ports, declared, err := parsePorts(row.text)
		if fmt.Sprint(ports) != row.want || declared != row.declared || (err != nil) != row.wrong {
			t.Errorf("%q: %v %t %v", row.text, ports, declared, err)
		}
	}
}

func TestTheNameSaysWhatItIs(t *testing.T) {
	for _, row := range []struct{ argv, want string }{
		{"/lab/server", "server"},
		{"/lab/server --port 80", "server --port 80"},
		{"/lab/server sleep 5", "sleep 5"},
		{"/lab/server /bin/sh -c x", "sh -c x"},
		{"/bin/busybox cat a", "cat a"},
		{"/usr/sbin/nginx -g x", "nginx -g x"},
		{"/pause", "pause"},
		{"/bin/echo cat", "echo cat"},
	} {
		name, args := call(strings.Fields(row.argv))
		if got := strings.Join(append([]string{name}, args...), " "); got != row.want {
			t.Errorf("%s: %q, want %q", row.argv, got, row.want)
		}
	}
}

func TestTheShellRunsWhatTutorialsAsk(t *testing.T) {
	directory := t.TempDir()
	tcp, _, _ := start(t)
	for _, row := range []struct {
		script, out string
		code        int
	}{
		{"echo a; echo b | cat && false || echo c", "a\nb\nc\n", 0},
		{"touch healthy; cat healthy && rm -f healthy; cat healthy", "", 1},
		{"for i in 1 2; do sleep 0; echo $i; done", "1\n2\n", 0},
		{"i=0; while [ $i -lt 2 ]; do i=$((i+1)); done; echo $i", "2\n", 0},
		{"set -e; false; echo no", "", 1},
		{"echo $GREETING $(seq 2 3)", "hello 2 3\n", 0},
		{"echo '\"client\":\"x\"' | grep -io 'CLIENT' && printf 'a\\nb\\n' | grep -c .", "client\n2\n", 0},
		{"exit 7", "", 7},
		{"no-such-program", "", 127},
		{fmt.Sprintf("wget -qO- http://127.0.0.1:%d/healthz", tcp), "ok\n", 0},
		{fmt.Sprintf("curl -sS --max-time 60 127.0.0.1:%d/ | grep -q web-1 && echo yes", tcp), "yes\n", 0},
		{"wget -q -T 2 -O- http://127.0.0.1:1/ || echo refused", "refused\n", 0},
	} {
		var out, complaints bytes.Buffer
		s := streams{in: strings.NewReader(""), out: &out, err: &complaints, environ: []string{"GREETING=hello", "PATH=/nowhere"}}
		code := shell(context.Background(), s, []string{"-c", "cd " + directory + "; " + row.script})
		if out.String() != row.out || code != row.code {
			t.Errorf("%s: %q, %d, %q", row.script, out.String(), code, complaints.String())
		}
		if row.code == 127 && !strings.Contains(complaints.String(), "not in the lab's stand-in image") {
			t.Errorf("%s: %q", row.script, complaints.String())
		}
	}
}

func TestTheShellReadsCommandsFromItsInput(t *testing.T) {
	var out bytes.Buffer
	s := streams{in: strings.NewReader("echo one\nexit 3\necho two\n"), out: &out, err: io.Discard}
	if code := shell(context.Background(), s, nil); code != 3 || out.String() != "one\n" {
		t.Fatalf("%d %q", code, out.String())
	}
}

func TestAnUnknownOptionIsRefusedWithASentence(t *testing.T) {
	var complaints bytes.Buffer
	s := streams{out: io.Discard, err: &complaints}
	if code := curl(context.Background(), s, []string{"--http3", "http://127.0.0.1/"}); code != 2 || !strings.Contains(complaints.String(), "stand-in for curl") {
		t.Fatalf("%d %q", code, complaints.String())
	}
}
