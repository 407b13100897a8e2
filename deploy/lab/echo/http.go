package main

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
)

// routes answers every path with the same JSON, but for the probes:
// /healthz and /readyz say 200 or 503, as POST /healthy?value=false and
// POST /ready?value=false (and true) set them.
func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.probe(&s.healthy))
	mux.HandleFunc("GET /readyz", s.probe(&s.ready))
	mux.HandleFunc("POST /healthy", s.turn(&s.healthy))
	mux.HandleFunc("POST /ready", s.turn(&s.ready))
	mux.HandleFunc("/", s.echo)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		s.log("%s %s %s -> %d host=%s agent=%q", r.Proto, r.Method, r.RemoteAddr+r.URL.RequestURI(), endpoint(local).Port(), r.Host, r.UserAgent())
		mux.ServeHTTP(w, r)
	})
}

func (s *server) echo(w http.ResponseWriter, r *http.Request) {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	client, _ := net.ResolveTCPAddr("tcp", r.RemoteAddr)
	a := s.answerTo(r.Proto, client, local)
	a.Method, a.Path, a.Host = r.Method, r.URL.RequestURI(), r.Host
	a.Headers = map[string]string{"Host": r.Host}
	for name, values := range r.Header {
		a.Headers[name] = strings.Join(values, ", ")
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(a.line())
}

func (s *server) probe(state *atomic.Bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if !state.Load() {
			http.Error(w, "switched off", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	}
}

func (s *server) turn(state *atomic.Bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		value, err := strconv.ParseBool(r.URL.Query().Get("value"))
		if err != nil {
			http.Error(w, "say ?value=true or ?value=false", http.StatusBadRequest)
			return
		}
		state.Store(value)
		s.log("%s is now %t", r.URL.Path, value)
		fmt.Fprintln(w, value)
	}
}
