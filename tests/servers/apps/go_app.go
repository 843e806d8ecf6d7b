// The application for the server of Go's net/http: go_app PORT.
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

var ledger *os.File

func handle(w http.ResponseWriter, r *http.Request) {
	parts := strings.SplitN(r.URL.Path, "/", 3)
	kind, id := parts[1], parts[len(parts)-1]
	ledger.WriteString("B " + id + "\n")
	size := 0
	if kind != "refuse" {
		body, _ := io.ReadAll(r.Body)
		size = len(body)
	}
	time.Sleep(time.Millisecond)
	status, content := 200, []byte(id)
	w.Header().Set("Content-Type", "text/plain")
	switch kind {
	case "empty":
		status, content = 204, nil
	case "gzip":
		var packed bytes.Buffer
		writer := gzip.NewWriter(&packed)
		writer.Write([]byte(strings.Repeat(id+"\n", 1000)))
		writer.Close()
		content = packed.Bytes()
		w.Header().Set("Content-Encoding", "gzip")
	case "header":
		for number := 0; number < 100; number++ {
			w.Header().Set(fmt.Sprintf("X-Field-%d", number), strings.Repeat("x", 1000))
		}
	case "refuse":
		status, content = 413, []byte("too much")
	case "sum":
		content = []byte(fmt.Sprint(size))
	}
	if status != 204 {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
	}
	ledger.WriteString("E " + id + "\n")
	w.WriteHeader(status)
	w.Write(content)
}

func main() {
	var err error
	ledger, err = os.OpenFile(os.Getenv("LEDGER"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0666)
	if err != nil {
		panic(err)
	}
	server := &http.Server{Addr: "127.0.0.1:" + os.Args[1], Handler: http.HandlerFunc(handle), IdleTimeout: time.Second}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		<-stop
		server.Shutdown(context.Background())
		close(done)
	}()
	server.ListenAndServe()
	<-done
}
