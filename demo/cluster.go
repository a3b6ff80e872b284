// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	nodeCount  = 4
	leaveAfter = 3 * time.Second // a node that is told to end and has not is killed
)

// cluster is the node processes, seen from outside.
type cluster struct {
	nodes  []*process
	client *http.Client
	died   context.CancelCauseFunc
}

// process is one node.
type process struct {
	url   string
	cmd   *exec.Cmd
	stdin io.Closer
	gone  chan struct{} // closed when it has ended and was waited for
}

// startCluster starts the nodes, each a process of this program. The context
// that it returns ends, with the reason, when a node ends before stop.
func startCluster(ctx context.Context, config nodeConfig) (*cluster, context.Context, error) {
	b, err := json.Marshal(config)
	if err != nil {
		return nil, ctx, err
	}
	c := &cluster{client: &http.Client{
		Timeout:   answerWithin,
		Transport: &http.Transport{MaxIdleConnsPerHost: 1024}, // keep-alive, also after a jam
	}}
	ctx, c.died = context.WithCancelCause(ctx)
	for i := range nodeCount {
		if err := c.start(ctx, i+1, string(b)); err != nil {
			c.stop()
			return nil, ctx, fmt.Errorf("starting node %d: %w", i+1, err)
		}
	}
	return c, ctx, nil
}

func (c *cluster) start(ctx context.Context, number int, config string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// An interruption does not kill it: stop does, and waits for it.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self)
	cmd.Env = append(os.Environ(), nodeEnv+"="+config)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // it ends with this process, and the node with it
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p := &process{cmd: cmd, stdin: stdin, gone: make(chan struct{})}
	c.nodes = append(c.nodes, p)
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	p.url = "http://" + strings.TrimSpace(addr)
	go func() {
		_ = cmd.Wait()
		c.died(fmt.Errorf("node %d ended by itself: %v", number, cmd.ProcessState))
		close(p.gone)
	}()
	if err != nil {
		return errors.New("it ended before it listened")
	}
	return nil
}

// stop ends the nodes and returns when all are gone.
func (c *cluster) stop() {
	c.client.CloseIdleConnections()
	for _, p := range c.nodes {
		p.stdin.Close()
	}
	timeout := time.After(leaveAfter)
	for _, p := range c.nodes {
		select {
		case <-p.gone:
		case <-timeout:
			for _, p := range c.nodes {
				_ = p.cmd.Process.Kill() // fails when it is gone already
			}
			<-p.gone
		}
	}
	c.died(nil)
}

// stats is what all nodes together tell about a protection since a moment.
func (c *cluster) stats(ctx context.Context, path string, since time.Time) (nodeStats, error) {
	var sum nodeStats
	for _, p := range c.nodes {
		s, err := c.ask(ctx, fmt.Sprintf("%s/stats/%s?since=%d", p.url, path, since.UnixNano()))
		if err != nil {
			return sum, err
		}
		sum.Queries = append(sum.Queries, s.Queries...)
		sum.Running += s.Running
		sum.Disturbed += s.Disturbed
	}
	return sum, nil
}

func (c *cluster) ask(ctx context.Context, url string) (s nodeStats, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return s, err
	}
	response, err := c.client.Do(request)
	if err != nil {
		return s, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return s, fmt.Errorf("%s: %s", url, response.Status)
	}
	return s, json.NewDecoder(response.Body).Decode(&s)
}
