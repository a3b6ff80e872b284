// SPDX-License-Identifier: Apache-2.0

package servers

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	masters = 3
	slots   = 16384
)

// RedisCluster is a Redis Cluster of three masters without replicas. Its nodes
// can be stopped, paused and restarted one by one.
type RedisCluster struct {
	nodes []*Server
}

// Cluster starts a Redis Cluster for a test. The lines are as in [Redis] and go
// to each node; they must not demand a password.
func Cluster(t T, lines ...string) *RedisCluster {
	t.Helper()
	return inTest(t, func(dir string) (*RedisCluster, error) { return startCluster(lines, dir) })
}

// StartCluster is [Cluster] without a test. The caller closes the cluster.
func StartCluster(lines ...string) (*RedisCluster, error) {
	return startCluster(lines, "")
}

func startCluster(lines []string, dir string) (*RedisCluster, error) {
	c := &RedisCluster{}
	err := c.launch(lines, dir)
	if err == nil {
		err = c.form()
	}
	if err == nil {
		err = c.Ready()
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *RedisCluster) launch(lines []string, dir string) error {
	lines = append([]string{"cluster-enabled yes", "cluster-node-timeout 5000"}, lines...)
	for i := range masters {
		nodeDir := dir
		if dir != "" {
			nodeDir = filepath.Join(dir, strconv.Itoa(i))
		}
		node, err := launch(redis(lines), nodeDir)
		if err != nil {
			return err
		}
		c.nodes = append(c.nodes, node)
	}
	return nil
}

// form gives each node its share of the slots and makes the first one meet the
// others. It does what redis-cli --cluster create does, without needing
// redis-cli; ADDSLOTSRANGE would be shorter, but Redis 6 does not have it.
func (c *RedisCluster) form() error {
	for i, node := range c.nodes {
		// Without epochs of their own the nodes first have to settle who owns what.
		epoch := []string{"CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i + 1)}
		share := append([]string{"CLUSTER", "ADDSLOTS"}, slotNumbers(i)...)
		if err := errors.Join(order(node, epoch), order(node, share)); err != nil {
			return err
		}
	}
	for _, node := range c.nodes[1:] {
		host, port, _ := net.SplitHostPort(node.Addr()) // made by loopback
		if err := order(c.nodes[0], []string{"CLUSTER", "MEET", host, port}); err != nil {
			return err
		}
	}
	return nil
}

func order(node *Server, command []string) error {
	if _, err := call(node.Addr(), command...); err != nil {
		return fmt.Errorf("servers: %s %s at %s: %w", command[0], command[1], node.Addr(), err)
	}
	return nil
}

// slotNumbers is the share of the i-th node.
func slotNumbers(i int) []string {
	var numbers []string
	for slot := i * slots / masters; slot < (i+1)*slots/masters; slot++ {
		numbers = append(numbers, strconv.Itoa(slot))
	}
	return numbers
}

// Ready waits until every node knows the others and finds all slots served: a
// node that was restarted answers long before it does.
func (c *RedisCluster) Ready() error {
	if err := poll(c.ok, nil); err != nil {
		return fmt.Errorf("servers: Redis Cluster: %w", err)
	}
	return nil
}

func (c *RedisCluster) ok() error {
	for _, node := range c.nodes {
		info, err := call(node.Addr(), "CLUSTER", "INFO")
		if err != nil {
			return err
		}
		for _, want := range []string{"cluster_state:ok", fmt.Sprintf("cluster_known_nodes:%d", masters)} {
			if !strings.Contains(info, want+"\r\n") {
				return fmt.Errorf("%s does not say %s:\n%s", node.Addr(), want, info)
			}
		}
	}
	return nil
}

// Addrs is where the nodes listen.
func (c *RedisCluster) Addrs() []string {
	var addrs []string
	for _, node := range c.nodes {
		addrs = append(addrs, node.Addr())
	}
	return addrs
}

// Nodes are the three masters, in the order of Addrs.
func (c *RedisCluster) Nodes() []*Server { return c.nodes }

// Close ends every node.
func (c *RedisCluster) Close() {
	for _, node := range c.nodes {
		node.Close()
	}
}
