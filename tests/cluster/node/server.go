package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// The kubelet's own values.
const (
	idleTimeout     = 4 * time.Hour
	creationTimeout = 30 * time.Second
)

// newHandler serves the kubelet's paths that an API server uses.
func newHandler(pods *pods) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", pods.serveLogs)
	for _, method := range []string{"GET", "POST"} {
		mux.HandleFunc(method+" /exec/{namespace}/{pod}/{container}", pods.serveExec)
		mux.HandleFunc(method+" /exec/{namespace}/{pod}/{uid}/{container}", pods.serveExec)
		mux.HandleFunc(method+" /attach/{namespace}/{pod}/{container}", pods.serveAttach)
		mux.HandleFunc(method+" /attach/{namespace}/{pod}/{uid}/{container}", pods.serveAttach)
		mux.HandleFunc(method+" /portForward/{namespace}/{pod}", pods.servePortForward)
		mux.HandleFunc(method+" /portForward/{namespace}/{pod}/{uid}", pods.servePortForward)
	}
	return mux
}

func (p *pods) serveLogs(w http.ResponseWriter, r *http.Request) {
	c, err := p.find(r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	values := r.URL.Query()
	if values.Get("previous") == "true" {
		http.Error(w, fmt.Sprintf("previous terminated container %q in pod %q not found", c.spec.Name, c.pod.name), http.StatusBadRequest)
		return
	}
	query, err := parseLogQuery(values)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	flush := func() { _ = http.NewResponseController(w).Flush() }
	if err := c.log.copyTo(r.Context(), w, flush, query, c.done); err != nil && r.Context().Err() == nil {
		panic(http.ErrAbortHandler) // cut, so that it does not look complete
	}
}

func (p *pods) serveExec(w http.ResponseWriter, r *http.Request) {
	p.serveSession(w, r, func(w http.ResponseWriter, r *http.Request, s session, options *remotecommand.Options) {
		remotecommand.ServeExec(w, r, s, s.container.pod.name, string(s.container.pod.uid), s.container.spec.Name,
			r.URL.Query()["command"], options, idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
	})
}

func (p *pods) serveAttach(w http.ResponseWriter, r *http.Request) {
	p.serveSession(w, r, func(w http.ResponseWriter, r *http.Request, s session, options *remotecommand.Options) {
		remotecommand.ServeAttach(w, r, s, s.container.pod.name, string(s.container.pod.uid), s.container.spec.Name,
			options, idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
	})
}

type serveStreams func(http.ResponseWriter, *http.Request, session, *remotecommand.Options)

func (p *pods) serveSession(w http.ResponseWriter, r *http.Request, serve serveStreams) {
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c, err := p.find(r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	serve(&watchedWriter{w, cancel}, r.WithContext(ctx), session{c, options}, options)
}

func (p *pods) servePortForward(w http.ResponseWriter, r *http.Request) {
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	it, err := p.findPod(r.PathValue("namespace"), r.PathValue("pod"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	portforward.ServePortForward(w, r, it, it.name, string(it.uid), options, idleTimeout, creationTimeout, portforward.SupportedProtocols)
}

// watchedWriter makes the end of an upgraded connection end the request's context, which net/http leaves to the hijacker.
type watchedWriter struct {
	http.ResponseWriter
	cancel context.CancelFunc
}

// Hijack implements http.Hijacker.
func (w *watchedWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	return &watchedConn{conn, w.cancel}, buffered, nil
}

type watchedConn struct {
	net.Conn
	cancel context.CancelFunc
}

func (c *watchedConn) Read(into []byte) (int, error) {
	n, err := c.Conn.Read(into)
	if err != nil {
		c.cancel()
	}
	return n, err
}

func (c *watchedConn) Close() error {
	c.cancel()
	return c.Conn.Close()
}
