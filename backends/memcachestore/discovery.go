// SPDX-License-Identifier: Apache-2.0

package memcachestore

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

const (
	defaultEvery            = 30 * time.Second
	defaultDiscoveryTimeout = time.Second

	clusterQuestion = "config get cluster\r\n"
	clusterHead     = "CONFIG cluster 0 " // and the length of what follows
	clusterTail     = "\r\nEND\r\n"

	maxClusterHead   = 512      // of the first line
	maxClusterAnswer = 64 << 10 // of the whole answer
	maxLookups       = 16       // at a time
)

// DiscoveryOptions are the options of [NewDiscovery]. The zero value is good.
type DiscoveryOptions struct {
	// Every is the time between two questions, give or take a tenth, so that
	// many processes do not ask at once. Default 30 s.
	Every time.Duration

	// Timeout is for one question: to connect, to be answered and to look up
	// the names in the answer. Default 1 s.
	Timeout time.Duration

	// Dial connects to the configuration endpoint; for TLS, use DialContext of a
	// tls.Dialer. It must return when its context ends: [Discovery.Close] waits
	// for it. Default DialContext of a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Logger is told when the servers change, once when the endpoint begins to
	// fail, and once when it works again. Default slog.Default().
	Logger *slog.Logger
}

func (o *DiscoveryOptions) check() error {
	var errs []error
	if o.Every < 0 {
		errs = append(errs, fmt.Errorf("memcachestore: DiscoveryOptions.Every is negative: %v", o.Every))
	}
	if o.Timeout < 0 {
		errs = append(errs, fmt.Errorf("memcachestore: DiscoveryOptions.Timeout is negative: %v", o.Timeout))
	}
	if o.Every == 0 {
		o.Every = defaultEvery
	}
	if o.Timeout == 0 {
		o.Timeout = defaultDiscoveryTimeout
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return errors.Join(errs...)
}

func checkEndpoint(endpoint string) error {
	if endpoint == "" {
		return errors.New("memcachestore: the configuration endpoint is empty")
	}
	host, port, err := net.SplitHostPort(endpoint)
	if err != nil {
		return fmt.Errorf("memcachestore: the configuration endpoint must be host:port: %w", err)
	}
	if host == "" || port == "" {
		return fmt.Errorf("memcachestore: the configuration endpoint must be host:port: %q", endpoint)
	}
	return nil
}

// Discovery is a [memcache.ServerSelector] whose servers come from a
// configuration endpoint, as Amazon ElastiCache and Google Memorystore for
// Memcached have it:
//
//	servers, err := memcachestore.NewDiscovery("my-cluster.cfg.use1.cache.amazonaws.com:11211", memcachestore.DiscoveryOptions{})
//	client := memcache.NewFromSelector(servers)
//
// It asks "config get cluster" in the text protocol, now and then, and takes the
// list of servers from the answer. A key goes to the server to which a
// [memcache.ServerList] of [Discovery.Servers] would send it. The list is sorted
// by host name and port, so every process has the same order, whatever the order
// in the answer. A server is used by the IP address in the list. Where that is
// missing, its name is looked up when the list changes; of several addresses, the
// lowest IPv4 address is taken, or the lowest IPv6 address.
//
// When the endpoint fails, answers nonsense or names no server, the last list
// stays. So it does when the version in the answer is lower than the one known:
// then the answer comes from a node that lags behind. A cluster that is made anew
// under the same name begins to count anew, so restart what uses it.
//
// The protocol is described in the Amazon ElastiCache User Guide, "Adding Auto
// Discovery to your Memcached client library" (for engine 1.4.14 and later; the
// older "get AmazonElastiCache:cluster" is not spoken), and in the documentation
// of Memorystore for Memcached, "Use the Auto Discovery service". The answer is
//
//	CONFIG cluster 0 <length>\r\n
//	<version>\n
//	<host>|<ip>|<port> <host>|<ip>|<port>\n
//	\r\n
//	END\r\n
//
// where the length counts both lines with their ends, and ip may be empty. The
// ends of these two lines may also be \r\n, and the last may be missing, as
// emulators have it; nothing else may differ.
//
// A Discovery is made by [NewDiscovery]. It is safe for concurrent use.
type Discovery struct {
	endpoint string
	o        DiscoveryOptions
	lookup   func(ctx context.Context, network, host string) ([]netip.Addr, error)
	now      atomic.Pointer[discovered]
	stop     context.CancelFunc
	stopped  chan struct{}
}

var _ memcache.ServerSelector = (*Discovery)(nil)

// discovered is an answer that is in use. It does not change.
type discovered struct {
	clusterConfig
	addrs []net.Addr // of nodes, in their order; never empty
}

// serverAddr is an address whose String, which the client asks for each time,
// costs nothing.
type serverAddr string

func (serverAddr) Network() string  { return "tcp" }
func (a serverAddr) String() string { return string(a) }

// NewDiscovery asks the configuration endpoint, a host:port, for its servers. It
// fails if the endpoint can not be reached or does not answer as it should, so
// that a wrong address is found at once. From then on it asks regularly, until
// [Discovery.Close].
func NewDiscovery(endpoint string, o DiscoveryOptions) (*Discovery, error) {
	return newDiscovery(endpoint, o, net.DefaultResolver.LookupNetIP)
}

func newDiscovery(endpoint string, o DiscoveryOptions, lookup func(context.Context, string, string) ([]netip.Addr, error)) (*Discovery, error) {
	if err := errors.Join(checkEndpoint(endpoint), o.check()); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background()) // of the polling; ends with Close
	d := &Discovery{endpoint: endpoint, o: o, lookup: lookup, stop: stop, stopped: make(chan struct{})}
	if err := d.poll(ctx); err != nil {
		stop()
		return nil, err
	}
	go d.keepPolling(ctx)
	return d, nil
}

// PickServer returns the server of a key. It does not fail.
func (d *Discovery) PickServer(key string) (net.Addr, error) {
	addrs := d.now.Load().addrs
	return addrs[keySum(key)%uint32(len(addrs))], nil
}

// keySum is crc32.ChecksumIEEE of at most 256 bytes of key, which is how
// memcache.ServerList does it. ChecksumIEEE itself wants a copy on the heap.
func keySum(key string) uint32 {
	sum := ^uint32(0)
	for i := range min(len(key), 256) {
		sum = crc32.IEEETable[byte(sum)^key[i]] ^ sum>>8
	}
	return ^sum
}

// Each calls f with each server, in order, until f fails.
func (d *Discovery) Each(f func(net.Addr) error) error {
	for _, a := range d.now.Load().addrs {
		if err := f(a); err != nil {
			return err
		}
	}
	return nil
}

// Servers returns the servers as they are now, each as ip:port, in order.
func (d *Discovery) Servers() []string { return d.now.Load().servers() }

func (s *discovered) servers() []string {
	all := make([]string, len(s.addrs))
	for i, a := range s.addrs {
		all[i] = a.String()
	}
	return all
}

// Close stops asking and returns when nothing is under way any more. The servers
// stay as they are. The error is always nil.
func (d *Discovery) Close() error {
	d.stop()
	<-d.stopped
	return nil
}

func (d *Discovery) keepPolling(ctx context.Context) {
	defer close(d.stopped)
	failing := false
	for {
		pause := time.NewTimer(jittered(d.o.Every))
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		err := d.poll(ctx)
		switch {
		case ctx.Err() != nil:
			return // an error is only that of Close
		case err != nil && !failing:
			d.o.Logger.Warn("memcachestore: discovery fails, the servers stay as they are", "endpoint", d.endpoint, "servers", d.Servers(), "error", err)
		case err == nil && failing:
			d.o.Logger.Info("memcachestore: discovery works again", "endpoint", d.endpoint)
		}
		failing = err != nil
	}
}

// jittered is every, give or take a tenth.
func jittered(every time.Duration) time.Duration {
	if every > math.MaxInt64/2 { // never, and a tenth more would be at once
		return every
	}
	tenth := every / 10
	return every - tenth + rand.N(2*tenth+1)
}

// poll asks once and uses the answer, if it is news.
func (d *Discovery) poll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, d.o.Timeout)
	defer cancel()
	old, next, err := d.news(ctx)
	if err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = fmt.Errorf("not done within %v: %w", d.o.Timeout, err)
		}
		return fmt.Errorf("memcachestore: configuration endpoint %s: %w", d.endpoint, err)
	}
	if next == nil {
		return nil
	}
	d.now.Store(next)
	if old != nil {
		d.o.Logger.Info("memcachestore: the servers changed", "endpoint", d.endpoint,
			"old_version", old.version, "new_version", next.version,
			"old", old.servers(), "new", next.servers())
	}
	return nil
}

// news returns what is in use and what should be from now on, nil if the same.
func (d *Discovery) news(ctx context.Context) (old, next *discovered, err error) {
	c, err := d.ask(ctx)
	if err != nil {
		return nil, nil, err
	}
	old = d.now.Load()
	if old != nil && (c.version < old.version || c.version == old.version && slices.Equal(c.nodes, old.nodes)) {
		return old, nil, nil
	}
	addrs, err := d.resolve(ctx, c.nodes)
	if err != nil {
		return nil, nil, err
	}
	return old, &discovered{clusterConfig: c, addrs: addrs}, nil
}

// ask puts the question on a connection of its own: it is rare, and the endpoint
// of ElastiCache is a name for all nodes, so the next one may be another.
func (d *Discovery) ask(ctx context.Context) (clusterConfig, error) {
	conn, err := d.o.Dial(ctx, "tcp", d.endpoint)
	if err != nil {
		return clusterConfig{}, err
	}
	defer conn.Close()
	// The end of ctx, be it the timeout or Close, ends reading and writing.
	ended := make(chan struct{})
	unwatch := context.AfterFunc(ctx, func() {
		defer close(ended)
		_ = conn.SetDeadline(time.Unix(1, 0)) // only a closed connection refuses
	})
	defer func() {
		if !unwatch() {
			<-ended
		}
	}()
	if _, err := io.WriteString(conn, clusterQuestion); err != nil {
		return clusterConfig{}, err
	}
	return readClusterConfig(conn)
}

// resolve returns the addresses of nodes, in their order.
func (d *Discovery) resolve(ctx context.Context, nodes []clusterNode) ([]net.Addr, error) {
	addrs := make([]net.Addr, len(nodes))
	errs := make([]error, len(nodes))
	room := make(chan struct{}, maxLookups)
	var lookups sync.WaitGroup
	for i, n := range nodes {
		if n.ip.IsValid() {
			addrs[i] = serverAddr(netip.AddrPortFrom(n.ip, n.port).String())
			continue
		}
		room <- struct{}{}
		lookups.Go(func() {
			defer func() { <-room }()
			ips, err := d.lookup(ctx, "ip", n.host)
			if err == nil && len(ips) == 0 {
				err = errors.New("no address")
			}
			if err != nil {
				errs[i] = fmt.Errorf("server %q: %w", n.host, err)
				return
			}
			for j := range ips {
				ips[j] = ips[j].Unmap()
			}
			ip := slices.MinFunc(ips, netip.Addr.Compare) // IPv4 is less than IPv6
			addrs[i] = serverAddr(netip.AddrPortFrom(ip, n.port).String())
		})
	}
	lookups.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err // one will do for the log
		}
	}
	return addrs, nil
}

// clusterConfig is an answer.
type clusterConfig struct {
	version uint64
	nodes   []clusterNode // sorted; never empty
}

// clusterNode is one server in an answer. Two of them can be compared.
type clusterNode struct {
	host string
	ip   netip.Addr // not valid: host is to be looked up
	port uint16
}

func (n clusterNode) compare(m clusterNode) int {
	return cmp.Or(cmp.Compare(n.host, m.host), cmp.Compare(n.port, m.port))
}

// readClusterConfig reads an answer, and not more than maxClusterAnswer bytes.
func readClusterConfig(r io.Reader) (clusterConfig, error) {
	var none clusterConfig
	br := bufio.NewReaderSize(r, maxClusterHead)
	line, err := br.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return none, fmt.Errorf("not the answer of a configuration endpoint: a line that begins %.80q", line)
	case err != nil:
		return none, early(err)
	}
	length, ok := strings.CutPrefix(string(line), clusterHead)
	if !ok {
		return none, fmt.Errorf("not the answer of a configuration endpoint: %.80q", line)
	}
	length, ok = strings.CutSuffix(length, "\r\n")
	size, err := strconv.ParseUint(length, 10, 64)
	if !ok || err != nil {
		return none, fmt.Errorf("no length in %.80q", line)
	}
	if size > uint64(maxClusterAnswer-len(line)-len(clusterTail)) {
		return none, fmt.Errorf("an answer of %d bytes, more than %d", size, maxClusterAnswer)
	}
	b := make([]byte, int(size)+len(clusterTail))
	if _, err := io.ReadFull(br, b); err != nil {
		return none, early(err)
	}
	payload, ok := strings.CutSuffix(string(b), clusterTail)
	if !ok {
		return none, fmt.Errorf("no END after the %d bytes that were announced", size)
	}
	return parseClusterConfig(payload)
}

// early says what the end of the stream means here.
func early(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the answer ends early: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// parseClusterConfig reads the two lines inside an answer.
func parseClusterConfig(payload string) (clusterConfig, error) {
	var none clusterConfig
	first, list, ok := strings.Cut(payload, "\n")
	if !ok {
		return none, fmt.Errorf("no line of servers in %.80q", payload)
	}
	version, err := strconv.ParseUint(strings.TrimSuffix(first, "\r"), 10, 64)
	if err != nil {
		return none, fmt.Errorf("%.80q is no version", first)
	}
	if l, ok := strings.CutSuffix(list, "\n"); ok {
		list = strings.TrimSuffix(l, "\r")
	}
	if list == "" {
		return none, errors.New("the list of servers is empty")
	}
	c := clusterConfig{version: version}
	for s := range strings.SplitSeq(list, " ") {
		n, err := parseClusterNode(s)
		if err != nil {
			return none, fmt.Errorf("%.300q is no server: %w", s, err)
		}
		c.nodes = append(c.nodes, n)
	}
	slices.SortFunc(c.nodes, clusterNode.compare)
	for i, n := range c.nodes[1:] {
		if n.compare(c.nodes[i]) == 0 {
			return none, fmt.Errorf("server %q is named twice with port %d", n.host, n.port)
		}
	}
	return c, nil
}

func parseClusterNode(s string) (clusterNode, error) {
	var none clusterNode
	parts := strings.Split(s, "|")
	if len(parts) != 3 {
		return none, errors.New("want host|ip|port")
	}
	n := clusterNode{host: parts[0]}
	if n.host == "" || len(n.host) > 253 || strings.ContainsFunc(n.host, notInHost) {
		return none, errors.New("bad host")
	}
	if parts[1] != "" {
		ip, err := netip.ParseAddr(parts[1])
		if err != nil || ip.Zone() != "" {
			return none, errors.New("bad ip")
		}
		n.ip = ip.Unmap()
	}
	port, err := strconv.ParseUint(parts[2], 10, 16)
	if err != nil || port == 0 {
		return none, errors.New("bad port")
	}
	n.port = uint16(port)
	return n, nil
}

// notInHost is strange in the name or the address of a host.
func notInHost(r rune) bool {
	letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
	return !letter && (r < '0' || r > '9') && !strings.ContainsRune("-._:", r)
}
