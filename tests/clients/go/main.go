// Drives a RocketMQ cluster with the stock Go client:
//
//	go run . -namesrv HOST:PORT -scenario NAME|all|list [-prefix UNIQUE] [-parallel N]
//	go run . -namesrv HOST:PORT -failover TOPIC
//	go run . -namesrv HOST:PORT -signed USER,SECRET,TOPIC,GROUP,FORBIDDEN
//
// Prints `PASS name` or `FAIL name: why` per scenario, then `N passed, N failed`. Exit code 0 if all passed, 1 if any failed,
// 2 for a wrong command line. A scenario that does not end within 90 s has failed.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/rlog"
)

const scenarioTimeout = 240 * time.Second

type scenario struct {
	name string
	run  func(c *cluster)
}

func main() {
	namesrv := flag.String("namesrv", "", "name server, HOST:PORT")
	wanted := flag.String("scenario", "", "a scenario's name, all or list")
	prefix := flag.String("prefix", fmt.Sprintf("gocheck%d", time.Now().UnixMilli()), "of topics and groups, must be new to the cluster")
	parallel := flag.Int("parallel", 4, "scenarios at a time: they wait more than they work")
	topic := flag.String("failover", "", "instead of scenarios: send to and consume this topic until the input ends, and print each message")
	words := flag.String("signed", "", "instead of scenarios: USER,SECRET,TOPIC,GROUP,FORBIDDEN for a producer and a consumer with credentials")
	flag.Parse()
	if *words != "" {
		signed(*namesrv, *words)
		return
	}
	if *topic != "" {
		failover(*namesrv, *topic)
		return
	}
	if *wanted == "list" {
		for _, s := range scenarios {
			fmt.Println(s.name)
		}
		return
	}
	var chosen []scenario
	for _, s := range scenarios {
		if *wanted == "all" || *wanted == s.name {
			chosen = append(chosen, s)
		}
	}
	if *namesrv == "" || len(chosen) == 0 {
		fmt.Fprintln(os.Stderr, "-namesrv and a known -scenario are needed")
		flag.Usage()
		os.Exit(2)
	}
	dir, err := os.MkdirTemp("", "go-client-check")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	rlog.SetLogLevel("error")
	_ = rlog.SetOutputPath(filepath.Join(dir, "client.log"))
	if runAll([]scenario{{"route", route}}, *namesrv, *prefix, 1) > 0 {
		os.Exit(1)
	}
	failed := runAll(chosen, *namesrv, *prefix, *parallel)
	fmt.Printf("%d passed, %d failed\n", len(chosen)-failed, failed)
	if failed > 0 {
		fmt.Println("the client's log:", filepath.Join(dir, "client.log"))
		os.Exit(1)
	}
	_ = os.RemoveAll(dir)
}

// route prints one FAIL if there is no cluster; without it every scenario would time out by itself.
func route(c *cluster) {
	eventually("a route for TBW102 from "+c.namesrv, func() bool { return len(c.queues("TBW102")) > 0 })
}

func runAll(chosen []scenario, namesrv, prefix string, parallel int) (failed int) {
	var (
		wait sync.WaitGroup
		lock sync.Mutex
		turn = make(chan struct{}, parallel)
	)
	for _, s := range chosen {
		wait.Add(1)
		turn <- struct{}{}
		go func(s scenario) {
			defer func() { <-turn; wait.Done() }()
			begin := time.Now()
			note, err := runOne(s, namesrv, prefix+"_"+s.name)
			lock.Lock()
			defer lock.Unlock()
			if err != nil {
				failed++
				fmt.Printf("FAIL %s: %s\n", s.name, strings.Join(strings.Fields(err.Error()), " "))
			} else {
				fmt.Printf("PASS %s (%d s%s)\n", s.name, int(time.Since(begin).Seconds()), note)
			}
		}(s)
	}
	wait.Wait()
	return failed
}

func runOne(s scenario, namesrv, prefix string) (string, error) {
	c := &cluster{namesrv: namesrv, prefix: prefix}
	done := make(chan error, 1)
	go func() {
		defer func() {
			switch why := recover().(type) {
			case nil:
				done <- nil
			case failure:
				done <- why
			default:
				done <- fmt.Errorf("panic: %v %s", why, debug.Stack())
			}
		}()
		defer c.close()
		s.run(c)
	}()
	select {
	case err := <-done:
		return c.note, err
	case <-time.After(scenarioTimeout):
		return "", fmt.Errorf("did not end within %s", scenarioTimeout)
	}
}
