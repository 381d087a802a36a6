// Command testnode is a Kubernetes node for tests: it runs the containers of its pods as plain processes of this machine, and
// serves exec, attach, logs and port-forward with the kubelet's own streaming library, so that protocols, terminals and exit codes
// are the real ones. It isolates nothing and pulls no image.
//
//	testnode --kubeconfig FILE --dir DIR --tls-cert FILE --tls-key FILE --client-ca FILE [--name test-node]
//	testnode serve      (a container's program: echo on $POD_IP:7000, HTTP on $POD_IP:8080)
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

type options struct {
	name, kubeconfig, dir, cert, key, clientCA string
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		log.Fatal(serve(os.Getenv("POD_IP")))
	}
	if len(os.Args) > 1 && os.Args[1] == "reap" {
		signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
		reap(os.Stdin)
		return
	}
	var o options
	flag.StringVar(&o.name, "name", "test-node", "name of the Node object")
	flag.StringVar(&o.kubeconfig, "kubeconfig", "", "how to reach the API server")
	flag.StringVar(&o.dir, "dir", "", "where pods have their working directories and logs")
	flag.StringVar(&o.cert, "tls-cert", "", "serving certificate (IP 127.0.0.1)")
	flag.StringVar(&o.key, "tls-key", "", "its key")
	flag.StringVar(&o.clientCA, "client-ca", "", "who may call: clients with a certificate of this CA (the API server)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		log.Fatal(err)
	}
}

// run serves until ctx ends, and leaves no process behind.
func run(ctx context.Context, o options) error {
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	config.QPS, config.Burst = 100, 200
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making the client: %w", err)
	}
	// Containers find this program on their PATH, and os/exec looks on ours.
	self, err := os.Executable()
	if err != nil {
		return err
	}
	os.Setenv("PATH", filepath.Dir(self)+":"+os.Getenv("PATH"))
	if err := reaper.start(self); err != nil {
		return fmt.Errorf("starting the reaper: %w", err)
	}
	defer reaper.stop()
	listener, err := listen(o)
	if err != nil {
		return err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	pods := newPods(client, o.name, o.dir, port)
	defer pods.stopAll()
	server := &http.Server{Handler: newHandler(pods), ReadHeaderTimeout: 30 * time.Second, ErrorLog: log.New(os.Stderr, "http: ", 0)}
	go func() { log.Print(server.Serve(listener)) }()
	defer server.Close()
	go keepNode(ctx, client, o.name, int32(port))
	go pods.watch(ctx)
	<-ctx.Done()
	return nil
}

// listen takes connections on loopback, from clients that prove to be the API server: what it serves is a shell on this machine.
func listen(o options) (net.Listener, error) {
	certificate, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return nil, fmt.Errorf("loading the serving certificate: %w", err)
	}
	pem, err := os.ReadFile(o.clientCA)
	if err != nil {
		return nil, fmt.Errorf("loading the client CA: %w", err)
	}
	callers := x509.NewCertPool()
	if !callers.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", o.clientCA)
	}
	// HTTP/1.1 only, as upgrades need it; the API server asks for nothing else on these paths.
	return tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{certificate},
		ClientCAs:    callers,
		ClientAuth:   tls.RequireAndVerifyClientCert,
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"http/1.1"},
	})
}
