package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

// serve is the program of a container that port-forward can reach: what comes to port 7000 goes back, port 8080 speaks HTTP.
func serve(ip string) error {
	echo, err := net.Listen("tcp", net.JoinHostPort(ip, "7000"))
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := echo.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	fmt.Println("serving")
	return http.ListenAndServe(net.JoinHostPort(ip, "8080"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s from %s\n", r.Method, r.URL.Path, os.Getenv("POD_NAME"))
	}))
}
