// Go's net/http on one core: two goroutines per origin, at most two connections per host. The same work, the same
// checks and the same line of JSON as the contenders in Python (benchmarks/work.py).
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	header       = "X-Request-Id"
	simultaneous = 2
)

type body struct {
	Name string `json:"name"`
	Cpus int    `json:"cpus"`
	Free int    `json:"free"`
	Host string `json:"host"`
}

type answer struct {
	status int
	header string
	body   body
	err    error
}

func main() {
	requests := flag.Int("requests", 0, "")
	hosts := flag.Int("hosts", 0, "")
	port := flag.Int("port", 0, "where nginx listens")
	ca := flag.String("ca", "", "what to verify certificates by; with it the origins speak TLS")
	connections := flag.Int("connections", 0, "requests in flight at most, 0 for any number")
	named := flag.Bool("named", false, "ask by name")
	flag.Parse()
	runtime.GOMAXPROCS(1)

	started := time.Now()
	transport := &http.Transport{MaxConnsPerHost: simultaneous, MaxIdleConnsPerHost: simultaneous}
	scheme := "http"
	if *ca != "" {
		scheme = "https"
		transport.TLSClientConfig = &tls.Config{RootCAs: trusted(*ca)}
	}
	client := &http.Client{Transport: transport}
	if *connections == 0 {
		*connections = simultaneous * *hosts
	}
	slots := make(chan struct{}, *connections)
	answers := make([]*answer, *requests)
	var workers sync.WaitGroup
	for first := 0; first < *hosts; first++ {
		host := address(first)
		if *named {
			host = fmt.Sprintf("web%d.example", first)
		}
		url := fmt.Sprintf("%s://%s:%d/", scheme, host, *port)
		last := int64(first - *hosts) // the request that was taken last; the origin's workers share it
		for i := 0; i < simultaneous; i++ {
			workers.Add(1)
			go func() {
				defer workers.Done()
				for {
					number := atomic.AddInt64(&last, int64(*hosts))
					if number >= int64(*requests) {
						return
					}
					slots <- struct{}{}
					answers[number] = get(client, url)
					<-slots
				}
			}()
		}
	}
	workers.Wait()
	failures := check(answers, *hosts)
	seconds := time.Since(started).Seconds()
	figures, _ := json.Marshal(map[string]any{
		"seconds": seconds, "cpu_seconds": cpuSeconds(), "requests": *requests, "rss_mb": peakRSS(),
		"failures": len(failures), "first_failure": append(failures, "")[0],
	})
	fmt.Println(string(figures))
}

func address(i int) string {
	return fmt.Sprintf("127.0.%d.%d", i/250, i%250+1)
}

// trusted reads the certificates of a PEM file.
func trusted(file string) *x509.CertPool {
	data, _ := os.ReadFile(file)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(data)
	return pool
}

func get(client *http.Client, url string) *answer {
	response, err := client.Get(url)
	if err != nil {
		return &answer{err: err}
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return &answer{err: err}
	}
	result := &answer{status: response.StatusCode, header: response.Header.Get(header)}
	result.err = json.Unmarshal(data, &result.body)
	return result
}

// check returns why requests failed and exits on an answer that is wrong or out of order.
func check(answers []*answer, hosts int) (failures []string) {
	addresses := make([]string, hosts)
	for i := range addresses {
		addresses[i] = address(i)
	}
	for i, a := range answers {
		if a.err != nil {
			failures = append(failures, a.err.Error())
		} else if a.status != 200 || a.header == "" || a.body.Host != addresses[i%hosts] {
			fmt.Fprintf(os.Stderr, "request %d: %+v\n", i+1, *a)
			os.Exit(1)
		}
	}
	return failures
}

// cpuSeconds is this process's CPU time, user and system.
func cpuSeconds() float64 {
	var used syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
}

// peakRSS is this process's peak resident memory in MB.
func peakRSS() float64 {
	status, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, "VmHWM:") {
			var kilobytes float64
			fmt.Sscanf(strings.TrimPrefix(line, "VmHWM:"), "%f", &kilobytes)
			return kilobytes / 1024
		}
	}
	return 0
}
