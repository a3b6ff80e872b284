// SPDX-License-Identifier: Apache-2.0

package memcachestore

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

// answered frames a payload as an endpoint does.
func answered(payload string) string {
	return fmt.Sprintf("CONFIG cluster 0 %d\r\n%s\r\nEND\r\n", len(payload), payload)
}

// recorded is an answer of an ElastiCache endpoint, as others have published it:
// the length is 191, with both line ends.
const recorded = "CONFIG cluster 0 191\r\n1\n" +
	"test1.rtstcw.0001.apne1.cache.amazonaws.com|172.31.12.60|11211 " +
	"test1.rtstcw.0002.apne1.cache.amazonaws.com|172.31.3.240|11211 " +
	"test1.rtstcw.0003.apne1.cache.amazonaws.com|172.31.10.26|11211\n\r\nEND\r\n"

func TestDiscoveryParse(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("h", 253)
	for name, tt := range map[string]struct {
		answer string
		want   string // as show has it
		fails  string // part of the error
	}{
		"ElastiCache":         {answer: recorded, want: "1 test1.rtstcw.0001.apne1.cache.amazonaws.com|172.31.12.60|11211 test1.rtstcw.0002.apne1.cache.amazonaws.com|172.31.3.240|11211 test1.rtstcw.0003.apne1.cache.amazonaws.com|172.31.10.26|11211"},
		"Memorystore":         {answer: answered("9\n10.0.0.4|10.0.0.4|11211 10.0.0.3|10.0.0.3|11211\n"), want: "9 10.0.0.3|10.0.0.3|11211 10.0.0.4|10.0.0.4|11211"},
		"no ip":               {answer: answered("12\nb||1 a||2\n"), want: "12 a||2 b||1"},
		"sorted by port":      {answer: answered("1\na||11 a||9 a||10\n"), want: "1 a||9 a||10 a||11"},
		"ip does not sort":    {answer: answered("1\nb|10.0.0.1|1 a|10.0.0.2|1\n"), want: "1 a|10.0.0.2|1 b|10.0.0.1|1"},
		"IPv6":                {answer: answered("1\na|2001:db8::1|1 2001:db8::2||1\n"), want: "1 2001:db8::2||1 a|2001:db8::1|1"},
		"IPv4 in IPv6":        {answer: answered("1\na|::ffff:10.0.0.1|1\n"), want: "1 a|10.0.0.1|1"},
		"CR LF":               {answer: answered("1\r\na||1\r\n"), want: "1 a||1"},
		"no LF at the end":    {answer: answered("1\na||1"), want: "1 a||1"},
		"largest numbers":     {answer: answered("18446744073709551615\na||65535\n"), want: "18446744073709551615 a||65535"},
		"longest name":        {answer: answered("1\n" + long + "||1\n"), want: "1 " + long + "||1"},
		"more is not read":    {answer: recorded + "VALUE", want: "1 test1.rtstcw.0001.apne1.cache.amazonaws.com|172.31.12.60|11211 test1.rtstcw.0002.apne1.cache.amazonaws.com|172.31.3.240|11211 test1.rtstcw.0003.apne1.cache.amazonaws.com|172.31.10.26|11211"},
		"nothing":             {answer: "", fails: "ends early"},
		"plain memcached":     {answer: "ERROR\r\n", fails: `not the answer of a configuration endpoint: "ERROR\r\n"`},
		"no configuration":    {answer: "END\r\n", fails: "not the answer of a configuration endpoint"},
		"server error":        {answer: "SERVER_ERROR out of memory\r\n", fails: "SERVER_ERROR out of memory"},
		"HTTP":                {answer: "HTTP/1.1 400 Bad Request\r\n\r\n", fails: "400 Bad Request"},
		"TLS alert":           {answer: "\x15\x03\x01\x00\x02\x02\x46", fails: "ends early"},
		"no line end":         {answer: strings.Repeat("x", 1<<20), fails: "not the answer of a configuration endpoint: a line that begins"},
		"other key":           {answer: "CONFIG other 0 6\r\n1\na||1\n\r\nEND\r\n", fails: "not the answer of a configuration endpoint"},
		"other flags":         {answer: "CONFIG cluster 1 6\r\n1\na||1\n\r\nEND\r\n", fails: "not the answer of a configuration endpoint"},
		"no length":           {answer: "CONFIG cluster 0 \r\n1\na||1\n\r\nEND\r\n", fails: "no length"},
		"negative length":     {answer: "CONFIG cluster 0 -1\r\n1\na||1\n\r\nEND\r\n", fails: "no length"},
		"length and more":     {answer: "CONFIG cluster 0 8 1\r\n1\na||1\n\r\nEND\r\n", fails: "no length"},
		"length without CR":   {answer: "CONFIG cluster 0 8\n1\na||1\n\r\nEND\r\n", fails: "no length"},
		"length of all bits":  {answer: "CONFIG cluster 0 18446744073709551615\r\n", fails: "more than 65536"},
		"length of too many":  {answer: "CONFIG cluster 0 99999999999999999999999\r\n", fails: "no length"},
		"length too small":    {answer: strings.Replace(recorded, "191", "190", 1), fails: "no END after the 190 bytes"},
		"length too large":    {answer: strings.Replace(recorded, "191", "192", 1), fails: "ends early"},
		"no END":              {answer: strings.Replace(recorded, "END", "FIN", 1), fails: "no END"},
		"one line":            {answer: answered("1"), fails: "no line of servers"},
		"no lines":            {answer: answered(""), fails: "no line of servers"},
		"no version":          {answer: answered("\na||1\n"), fails: "no version"},
		"word for a version":  {answer: answered("one\na||1\n"), fails: `"one" is no version`},
		"negative version":    {answer: answered("-1\na||1\n"), fails: "no version"},
		"version too large":   {answer: answered("18446744073709551616\na||1\n"), fails: "no version"},
		"no servers":          {answer: answered("1\n\n"), fails: "the list of servers is empty"},
		"no servers, no LF":   {answer: answered("1\n"), fails: "the list of servers is empty"},
		"no servers, CR":      {answer: answered("1\r\n\r\n"), fails: "the list of servers is empty"},
		"third line":          {answer: answered("1\na||1\nb||1\n"), fails: "want host|ip|port"},
		"two spaces":          {answer: answered("1\na||1  b||1\n"), fails: "want host|ip|port"},
		"space at the end":    {answer: answered("1\na||1 \n"), fails: "want host|ip|port"},
		"commas":              {answer: answered("1\na||1,b||1\n"), fails: "want host|ip|port"},
		"two parts":           {answer: answered("1\na|1\n"), fails: "want host|ip|port"},
		"four parts":          {answer: answered("1\na||1|2\n"), fails: "want host|ip|port"},
		"no host":             {answer: answered("1\n|10.0.0.1|1\n"), fails: "bad host"},
		"tab in host":         {answer: answered("1\na\tb||1\n"), fails: "bad host"},
		"path for a host":     {answer: answered("1\n/run/memcached.sock||1\n"), fails: "bad host"},
		"NUL in host":         {answer: answered("1\na\x00||1\n"), fails: "bad host"},
		"letter beyond ASCII": {answer: answered("1\nä||1\n"), fails: "bad host"},
		"name too long":       {answer: answered("1\n" + long + "h||1\n"), fails: "bad host"},
		"name for an ip":      {answer: answered("1\na|a|1\n"), fails: "bad ip"},
		"part of an ip":       {answer: answered("1\na|10.0.0|1\n"), fails: "bad ip"},
		"ip with a zone":      {answer: answered("1\na|fe80::1%eth0|1\n"), fails: "bad ip"},
		"ip in brackets":      {answer: answered("1\na|[::1]|1\n"), fails: "bad ip"},
		"no port":             {answer: answered("1\na||\n"), fails: "bad port"},
		"port 0":              {answer: answered("1\na||0\n"), fails: "bad port"},
		"port too large":      {answer: answered("1\na||65536\n"), fails: "bad port"},
		"name of a port":      {answer: answered("1\na||memcache\n"), fails: "bad port"},
		"port with a sign":    {answer: answered("1\na||+1\n"), fails: "bad port"},
		"twice":               {answer: answered("1\na|10.0.0.1|1 b||1 a|10.0.0.2|1\n"), fails: `"a" is named twice with port 1`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for way, r := range map[string]io.Reader{
				"at once":     strings.NewReader(tt.answer),
				"in bytes":    iotest.OneByteReader(strings.NewReader(tt.answer)),
				"EOF at once": iotest.DataErrReader(strings.NewReader(tt.answer)),
			} {
				c, err := readClusterConfig(r)
				switch {
				case tt.fails == "" && err != nil:
					t.Errorf("%s: %v", way, err)
				case tt.fails == "" && show(c) != tt.want:
					t.Errorf("%s: got %s\nwant %s", way, show(c), tt.want)
				case tt.fails != "" && (err == nil || !strings.Contains(err.Error(), tt.fails)):
					t.Errorf("%s: got %v, %v, want an error with %q", way, c, err, tt.fails)
				case err != nil && len(err.Error()) > 1000:
					t.Errorf("%s: an error of %d bytes", way, len(err.Error()))
				}
			}
		})
	}
}

func TestDiscoveryParseTruncated(t *testing.T) {
	t.Parallel()
	for n := range len(recorded) {
		if c, err := readClusterConfig(strings.NewReader(recorded[:n])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes: %v, %v, want an unexpected EOF", n, c, err)
		}
	}
	broken := errors.New("broken")
	for _, n := range []int{0, 10, 100} {
		r := io.MultiReader(strings.NewReader(recorded[:n]), iotest.ErrReader(broken))
		if _, err := readClusterConfig(r); !errors.Is(err, broken) {
			t.Errorf("broken after %d bytes: %v", n, err)
		}
	}
}

// The largest answer is 64 KiB with everything; one byte more is refused unread.
func TestDiscoveryParseBound(t *testing.T) {
	t.Parallel()
	payload := func(size int) string {
		var b strings.Builder
		b.WriteString("1\n")
		for i := 0; b.Len() < size-400; i++ {
			fmt.Fprintf(&b, "%0200d||1 ", i)
		}
		b.WriteString(strings.Repeat("x", size-b.Len()-len("||1\n")) + "||1\n")
		return b.String()
	}
	room := maxClusterAnswer - len("CONFIG cluster 0 65500\r\n") - len(clusterTail)
	fits := answered(payload(room))
	if len(fits) != 64<<10 {
		t.Fatalf("%d bytes, want 64 KiB: mend the test", len(fits))
	}
	if c, err := readClusterConfig(strings.NewReader(fits)); err != nil || len(c.nodes) < 300 {
		t.Errorf("%d servers, %v", len(c.nodes), err)
	}
	r := strings.NewReader(answered(payload(room + 1)))
	all := r.Len()
	if _, err := readClusterConfig(r); err == nil || !strings.Contains(err.Error(), "more than 65536") {
		t.Errorf("one byte too many: %v", err)
	}
	if read := all - r.Len(); read > maxClusterHead {
		t.Errorf("read %d bytes of an answer that is too long", read)
	}
}

func FuzzDiscoveryParse(f *testing.F) {
	f.Add(recorded)
	f.Add(answered("9\n10.0.0.4|10.0.0.4|11211 10.0.0.3|10.0.0.3|11211\n"))
	f.Add(answered("1\r\nb|::1|1 a||2\r\n"))
	f.Add(answered("1\n\n"))
	f.Add("ERROR\r\n")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := readClusterConfig(strings.NewReader(s))
		if p, perr := parseClusterConfig(s); perr == nil && len(p.nodes) == 0 {
			t.Error("no servers and no error")
		}
		if err != nil {
			return
		}
		if len(c.nodes) == 0 {
			t.Fatal("no servers and no error")
		}
		for i, n := range c.nodes {
			if n.host == "" || n.port == 0 || i > 0 && c.nodes[i-1].compare(n) >= 0 {
				t.Errorf("server %d: %v", i, c.nodes)
			}
		}
		version, list, _ := strings.Cut(show(c), " ")
		again, err := readClusterConfig(strings.NewReader(answered(version + "\n" + list + "\n")))
		if err != nil || show(again) != show(c) {
			t.Errorf("%q, written and read again, is %q, %v", show(c), show(again), err)
		}
	})
}

// show writes a configuration as an endpoint would, on one line.
func show(c clusterConfig) string {
	parts := []string{fmt.Sprint(c.version)}
	for _, n := range c.nodes {
		ip := ""
		if n.ip.IsValid() {
			ip = n.ip.String()
		}
		parts = append(parts, fmt.Sprintf("%s|%s|%d", n.host, ip, n.port))
	}
	return strings.Join(parts, " ")
}

func TestDiscoveryBadOptions(t *testing.T) {
	t.Parallel()
	o := DiscoveryOptions{
		Every:   -time.Second,
		Timeout: -time.Minute,
		Dial: func(context.Context, string, string) (net.Conn, error) {
			t.Error("bad options and a connection")
			return nil, io.EOF
		},
	}
	_, err := NewDiscovery("", o)
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	for i, want := range []string{"endpoint is empty", "Every is negative: -1s", "Timeout is negative: -1m0s"} {
		if len(lines) != 3 || !strings.HasPrefix(lines[i], "memcachestore: ") || !strings.Contains(lines[i], want) {
			t.Errorf("got %q, want %q in line %d of 3", err, want, i)
		}
	}
	o.Every, o.Timeout = 0, 0
	for _, endpoint := range []string{"cache", "cache:", ":11211", "::1", "a:b:c", "http://cache:1/"} {
		if _, err := NewDiscovery(endpoint, o); err == nil || !strings.HasPrefix(err.Error(), "memcachestore: the configuration endpoint must be host:port") {
			t.Errorf("endpoint %q: %v", endpoint, err)
		}
	}
}

// listen starts a server that answers each question on l and returns its address.
// An empty answer is none: the connection stays open.
func listen(t *testing.T, l net.Listener, answer string) string {
	t.Helper()
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			serving.Go(func() { serveDiscovery(conn, answer) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	return l.Addr().String()
}

// serveDiscovery is the server's side of one connection.
func serveDiscovery(conn net.Conn, answer string) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	if line, err := r.ReadString('\n'); err != nil || line != "config get cluster\r\n" {
		_, _ = io.WriteString(conn, "ERROR\r\n")
		return
	}
	if answer == "" {
		_, _ = r.ReadByte() // until the client has had enough
		return
	}
	_, _ = io.WriteString(conn, answer)
}

func local(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

const farAway = time.Hour // no second question in a test with a real clock

func TestDiscoveryOverTCP(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer string
		want   []string
		fails  string
	}{
		"good":      {answer: answered("3\nb|10.0.0.1|11211 a|10.0.0.2|11211\n"), want: []string{"10.0.0.2:11211", "10.0.0.1:11211"}},
		"IPv6":      {answer: answered("3\na|2001:db8::1|11211\n"), want: []string{"[2001:db8::1]:11211"}},
		"no ip":     {answer: answered("3\n127.0.0.9||7 ::1||7\n"), want: []string{"127.0.0.9:7", "[::1]:7"}},
		"localhost": {answer: answered("3\nlocalhost||7\n"), want: []string{"127.0.0.1:7"}},
		"nonsense":  {answer: "HTTP/1.1 400 Bad Request\r\n\r\n", fails: "not the answer of a configuration endpoint"},
		"memcached": {answer: "ERROR\r\n", fails: "not the answer of a configuration endpoint"},
		"empty":     {answer: answered("1\n\n"), fails: "the list of servers is empty"},
		"truncated": {answer: recorded[:100], fails: "the answer ends early"},
		"too long":  {answer: answered("1\n" + strings.Repeat("a||1 ", 1<<16)), fails: "more than 65536"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endpoint := listen(t, local(t), tt.answer)
			d, err := NewDiscovery(endpoint, DiscoveryOptions{Every: farAway, Timeout: time.Minute})
			if tt.fails != "" {
				if err == nil || !strings.HasPrefix(err.Error(), "memcachestore: configuration endpoint "+endpoint+": ") || !strings.Contains(err.Error(), tt.fails) {
					t.Errorf("got %v, want an error with %q", err, tt.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = d.Close() }()
			if got := d.Servers(); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestDiscoveryOverTCPNoAnswer(t *testing.T) {
	t.Parallel()
	endpoint := listen(t, local(t), "")
	_, err := NewDiscovery(endpoint, DiscoveryOptions{Timeout: 20 * time.Millisecond})
	if !errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(err.Error(), "not done within 20ms") {
		t.Errorf("no answer: %v", err)
	}

	l := local(t)
	l.Close()
	_, err = NewDiscovery(l.Addr().String(), DiscoveryOptions{Timeout: time.Minute})
	if err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody there: %v", err)
	}

	// Whether the name server says no or does not answer, it is an error.
	if _, err = NewDiscovery("no-such-host.invalid:11211", DiscoveryOptions{}); err == nil {
		t.Error("an endpoint whose name is not known, and no error")
	}
}

func TestDiscoveryOverTLS(t *testing.T) {
	t.Parallel()
	cert := httptest.NewTLSServer(nil)
	defer cert.Close()
	endpoint := listen(t, tls.NewListener(local(t), &tls.Config{Certificates: cert.TLS.Certificates}), recorded)
	roots := x509.NewCertPool()
	roots.AddCert(cert.Certificate())
	o := DiscoveryOptions{
		Every:   farAway,
		Timeout: time.Minute,
		Dial:    (&tls.Dialer{Config: &tls.Config{RootCAs: roots}}).DialContext,
	}
	d, err := NewDiscovery(endpoint, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	if len(d.Servers()) != 3 {
		t.Errorf("got %q", d.Servers())
	}
}

// discoveryNet is an endpoint over net.Pipe, a resolver and a log, for a bubble.
type discoveryNet struct {
	mu     sync.Mutex
	answer string        // of the endpoint; empty: none
	err    error         // of connecting
	hang   bool          // connecting takes for ever
	shut   bool          // the other side has closed
	linger time.Duration // how long connecting goes on after its context
	names  map[string][]netip.Addr
	asked  []time.Time
	looked int
	logs   []slog.Record
}

func (n *discoveryNet) set(f func(n *discoveryNet)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(n)
}

func (n *discoveryNet) dial(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, time.Now())
	if network != "tcp" || address != "cfg:11211" {
		return nil, fmt.Errorf("connection to %s %s", network, address)
	}
	if n.hang {
		n.mu.Unlock()
		<-ctx.Done()
		time.Sleep(n.linger)
		n.mu.Lock()
		return nil, ctx.Err()
	}
	if n.err != nil {
		return nil, n.err
	}
	client, server := net.Pipe()
	if n.shut {
		return client, server.Close()
	}
	go serveDiscovery(server, n.answer)
	return client, nil
}

func (n *discoveryNet) lookup(ctx context.Context, network, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.looked++
	if _, ok := ctx.Deadline(); !ok || network != "ip" {
		return nil, fmt.Errorf("looked up %s %s, deadline: %v", network, host, ok)
	}
	if ips, ok := n.names[host]; ok {
		return slices.Clone(ips), nil
	}
	if n.names != nil {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	n.mu.Unlock()
	<-ctx.Done()
	n.mu.Lock()
	return nil, ctx.Err()
}

func (n *discoveryNet) Enabled(context.Context, slog.Level) bool { return true }
func (n *discoveryNet) WithAttrs([]slog.Attr) slog.Handler       { return n }
func (n *discoveryNet) WithGroup(string) slog.Handler            { return n }
func (n *discoveryNet) Handle(_ context.Context, r slog.Record) error {
	n.set(func(n *discoveryNet) { n.logs = append(n.logs, r) })
	return nil
}

// said returns what was logged since it was last called, a line each.
func (n *discoveryNet) said() (lines []string) {
	n.set(func(n *discoveryNet) {
		for _, r := range n.logs {
			line := r.Level.String() + " " + r.Message
			r.Attrs(func(a slog.Attr) bool {
				line += " " + a.String()
				return true
			})
			lines = append(lines, line)
		}
		n.logs = nil
	})
	return lines
}

func (n *discoveryNet) start(t *testing.T) *Discovery {
	t.Helper()
	d, err := newDiscovery("cfg:11211", DiscoveryOptions{Dial: n.dial, Logger: slog.New(n)}, n.lookup)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// nextPoll lets one poll happen, by the clock of the bubble.
func (n *discoveryNet) nextPoll(t *testing.T) {
	t.Helper()
	before := n.polls()
	for n.polls() == before {
		time.Sleep(time.Second)
	}
	time.Sleep(defaultDiscoveryTimeout)
	synctest.Wait()
	if n.polls() != before+1 {
		t.Fatalf("%d polls at once", n.polls()-before)
	}
}

func (n *discoveryNet) polls() (k int) {
	n.set(func(n *discoveryNet) { k = len(n.asked) })
	return k
}

func wantServers(t *testing.T, d *Discovery, want ...string) {
	t.Helper()
	if got := d.Servers(); !slices.Equal(got, want) {
		t.Errorf("servers %q, want %q", got, want)
	}
	var each []string
	if err := d.Each(func(a net.Addr) error {
		each = append(each, a.Network()+" "+a.String())
		return nil
	}); err != nil {
		t.Error(err)
	}
	for i := range want {
		if len(each) != len(want) || each[i] != "tcp "+want[i] {
			t.Errorf("each of %q, want %q", each, want)
		}
	}
	for range 20 {
		key := fmt.Sprint(rand.Uint64())
		a, err := d.PickServer(key)
		if err != nil || a.String() != want[crc32.ChecksumIEEE([]byte(key))%uint32(len(want))] {
			t.Errorf("key %q goes to %v, %v", key, a, err)
		}
	}
}

func wantLogs(t *testing.T, n *discoveryNet, want ...string) {
	t.Helper()
	got := n.said()
	ok := len(got) == len(want)
	for i := range want {
		ok = ok && strings.Contains(got[i], want[i])
	}
	if !ok {
		t.Errorf("logged %q, want %q", got, want)
	}
}

func TestDiscoverySwap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &discoveryNet{answer: answered("5\nb|10.0.0.1|1 a|10.0.0.2|1\n")}
		d := n.start(t)
		defer func() { _ = d.Close() }()
		wantServers(t, d, "10.0.0.2:1", "10.0.0.1:1")

		for _, step := range []struct {
			what, answer string
			want         []string
			logs         []string
		}{
			{"the same", answered("5\nb|10.0.0.1|1 a|10.0.0.2|1\n"), []string{"10.0.0.2:1", "10.0.0.1:1"}, nil},
			{"another order", answered("5\na|10.0.0.2|1 b|10.0.0.1|1\n"), []string{"10.0.0.2:1", "10.0.0.1:1"}, nil},
			{
				"higher version, same list", answered("6\na|10.0.0.2|1 b|10.0.0.1|1\n"), []string{"10.0.0.2:1", "10.0.0.1:1"},
				[]string{"INFO memcachestore: the servers changed endpoint=cfg:11211 old_version=5 new_version=6"},
			},
			{
				"one more", answered("7\na|10.0.0.2|1 aa|10.0.0.3|1 b|10.0.0.1|1\n"), []string{"10.0.0.2:1", "10.0.0.3:1", "10.0.0.1:1"},
				[]string{"old_version=6 new_version=7 old=[10.0.0.2:1 10.0.0.1:1] new=[10.0.0.2:1 10.0.0.3:1 10.0.0.1:1]"},
			},
			{"lags", answered("6\na|10.0.0.2|1 b|10.0.0.1|1\n"), []string{"10.0.0.2:1", "10.0.0.3:1", "10.0.0.1:1"}, nil},
			{"lags, and names servers never seen", answered("1\nx||1\n"), []string{"10.0.0.2:1", "10.0.0.3:1", "10.0.0.1:1"}, nil},
			{
				"same version, other list", answered("7\na|10.0.0.9|1\n"), []string{"10.0.0.9:1"},
				[]string{"old_version=7 new_version=7 old=[10.0.0.2:1 10.0.0.3:1 10.0.0.1:1] new=[10.0.0.9:1]"},
			},
		} {
			n.set(func(n *discoveryNet) { n.answer = step.answer })
			for range 2 {
				n.nextPoll(t)
				wantServers(t, d, step.want...)
				wantLogs(t, n, step.logs...)
				step.logs = nil // once
			}
			if t.Failed() {
				t.Fatal(step.what)
			}
		}
		if n.looked != 0 {
			t.Errorf("%d lookups with the ip of each server known", n.looked)
		}
	})
}

func TestDiscoveryFailureKeepsServers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &discoveryNet{answer: answered("5\na|10.0.0.1|1\n"), names: map[string][]netip.Addr{}}
		d := n.start(t)
		defer func() { _ = d.Close() }()
		good := n.answer

		// Each of these is said once and then the end of it, though it lasts.
		for what, spoil := range map[string]func(n *discoveryNet){
			"connection refused":                         func(n *discoveryNet) { n.err = errors.New("connection refused") },
			"not done within 1s: context deadline":       func(n *discoveryNet) { n.hang = true },
			"not done within 1s: read pipe: i/o timeout": func(n *discoveryNet) { n.answer = "" },
			"not the answer of a configuration endpoint": func(n *discoveryNet) { n.answer = "ERROR\r\n" },
			"the list of servers is empty":               func(n *discoveryNet) { n.answer = answered("6\n\n") },
			"the answer ends early":                      func(n *discoveryNet) { n.answer = answered("6\nb|10.0.0.2|1\n")[:30] },
			"no such host":                               func(n *discoveryNet) { n.answer = answered("6\nb||1 c|10.0.0.2|1\n") },
		} {
			n.set(spoil)
			n.nextPoll(t)
			wantServers(t, d, "10.0.0.1:1")
			wantLogs(t, n, "WARN memcachestore: discovery fails, the servers stay as they are endpoint=cfg:11211 servers=[10.0.0.1:1] error=memcachestore: configuration endpoint cfg:11211: ")
			for range 3 {
				n.nextPoll(t)
				wantServers(t, d, "10.0.0.1:1")
			}
			n.set(func(n *discoveryNet) { n.answer = "other nonsense\r\n" })
			n.nextPoll(t)
			wantLogs(t, n)

			n.set(func(n *discoveryNet) { n.answer, n.err, n.hang = good, nil, false })
			n.nextPoll(t)
			n.nextPoll(t)
			wantLogs(t, n, "INFO memcachestore: discovery works again endpoint=cfg:11211")

			n.set(spoil)
			if err := d.poll(t.Context()); err == nil || !strings.Contains(err.Error(), what) {
				t.Errorf("got %v, want %q", err, what)
			}
			n.set(func(n *discoveryNet) { n.answer, n.err, n.hang = good, nil, false })
			if t.Failed() {
				t.Fatal(what)
			}
		}

		// Back again and with other servers: both are said.
		n.set(func(n *discoveryNet) { n.answer = "" })
		n.nextPoll(t)
		n.set(func(n *discoveryNet) { n.answer = answered("6\nb|10.0.0.2|1\n") })
		n.nextPoll(t)
		wantServers(t, d, "10.0.0.2:1")
		wantLogs(t, n, "WARN", "the servers changed", "works again")
	})
}

func TestDiscoveryLooksUpNames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ip := netip.MustParseAddr
		n := &discoveryNet{
			answer: answered("1\nb||1 a||2 c|10.0.0.9|3\n"),
			names: map[string][]netip.Addr{
				// Whatever the order, the lowest IPv4 address, then IPv6.
				"a": {ip("2001:db8::1"), ip("::ffff:10.0.0.7"), ip("10.0.0.6"), ip("10.0.0.8")},
				"b": {ip("2001:db8::3"), ip("2001:db8::2")},
			},
		}
		d := n.start(t)
		defer func() { _ = d.Close() }()
		wantServers(t, d, "10.0.0.6:2", "[2001:db8::2]:1", "10.0.0.9:3")

		n.set(func(n *discoveryNet) { n.names["a"] = []netip.Addr{ip("10.0.0.1")} })
		n.nextPoll(t)
		wantServers(t, d, "10.0.0.6:2", "[2001:db8::2]:1", "10.0.0.9:3")
		if n.looked != 2 {
			t.Errorf("%d lookups, want 2: the list has not changed", n.looked)
		}

		// At a swap all names are looked up again.
		n.set(func(n *discoveryNet) { n.answer = answered("2\na||2 b||1\n") })
		n.nextPoll(t)
		wantServers(t, d, "10.0.0.1:2", "[2001:db8::2]:1")
		if n.looked != 4 {
			t.Errorf("%d lookups, want 4", n.looked)
		}
		wantLogs(t, n, "the servers changed")

		// A name that can not be looked up is tried again at the next poll.
		n.set(func(n *discoveryNet) { n.answer = answered("3\na||2 x||1\n") })
		n.nextPoll(t)
		n.set(func(n *discoveryNet) { n.names["x"] = []netip.Addr{} })
		n.nextPoll(t)
		wantServers(t, d, "10.0.0.1:2", "[2001:db8::2]:1")
		n.set(func(n *discoveryNet) { n.names["x"] = []netip.Addr{ip("10.0.0.2")} })
		n.nextPoll(t)
		wantServers(t, d, "10.0.0.1:2", "10.0.0.2:1")
		wantLogs(t, n, `server "x": lookup x: no such host`, "the servers changed", "works again")
	})
}

// More names than are looked up at a time, and a name server that is silent.
func TestDiscoveryManyNames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &discoveryNet{names: map[string][]netip.Addr{}}
		var list, want []string
		for i := range 5 * maxLookups {
			host := fmt.Sprintf("n%03d", i)
			ip := netip.AddrFrom4([4]byte{10, 0, 1, byte(i)})
			n.names[host] = []netip.Addr{ip}
			list = append(list, host+"||1")
			want = append(want, ip.String()+":1")
		}
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		n.answer = answered("1\n" + strings.Join(list, " ") + "\n")
		d := n.start(t)
		wantServers(t, d, want...)
		_ = d.Close()

		n.names = nil // silent
		begin := time.Now()
		_, err := newDiscovery("cfg:11211", DiscoveryOptions{Dial: n.dial, Timeout: 3 * time.Second}, n.lookup)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "not done within 3s") {
			t.Errorf("no answer from the name server: %v", err)
		}
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("took %v, want 3s for all names together", took)
		}
	})
}

// A bubble fails when a goroutine is left behind, so the first question is of
// interest, too.
func TestDiscoveryFirstQuestionFails(t *testing.T) {
	t.Parallel()
	for name, n := range map[string]*discoveryNet{
		"refused":          {err: errors.New("refused")},
		"connecting hangs": {hang: true},
		"closed":           {shut: true},
		"no answer":        {},
		"nonsense":         {answer: "ERROR\r\n"},
		"unknown name":     {answer: answered("1\na||1\n"), names: map[string][]netip.Addr{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				d, err := newDiscovery("cfg:11211", DiscoveryOptions{Dial: n.dial, Logger: slog.New(n)}, n.lookup)
				if d != nil || err == nil || !strings.HasPrefix(err.Error(), "memcachestore: configuration endpoint cfg:11211: ") {
					t.Errorf("%v, %v", d, err)
				}
				if took := time.Since(begin); took != 0 && took != defaultDiscoveryTimeout {
					t.Errorf("took %v", took)
				}
				time.Sleep(time.Hour)
				if n.polls() != 1 || len(n.said()) != 0 {
					t.Errorf("%d questions after the first has failed, or a log", n.polls())
				}
			})
		})
	}
}

func TestDiscoveryClose(t *testing.T) {
	t.Parallel()
	for name, under := range map[string]func(n *discoveryNet){
		"idle":             nil,
		"connecting hangs": func(n *discoveryNet) { n.hang = true },
		"dialer lingers":   func(n *discoveryNet) { n.hang, n.linger = true, time.Minute },
		"no answer":        func(n *discoveryNet) { n.answer = "" },
		"lookup hangs":     func(n *discoveryNet) { n.answer = answered("2\nb||1\n") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := &discoveryNet{answer: answered("1\na|10.0.0.1|1\n")}
				d := n.start(t)
				if under != nil {
					n.set(under)
					for n.polls() == 1 {
						time.Sleep(time.Millisecond)
					}
					synctest.Wait() // the question is under way
				}
				begin := time.Now()
				var closers sync.WaitGroup
				for range 3 {
					closers.Go(func() {
						if err := d.Close(); err != nil {
							t.Error(err)
						}
					})
				}
				closers.Wait()
				if took := time.Since(begin); took != n.linger { // at once, but it waits for what is under way
					t.Errorf("Close took %v, want %v", took, n.linger)
				}
				before := n.polls()
				time.Sleep(24 * time.Hour)
				if err := d.Close(); err != nil || n.polls() != before {
					t.Errorf("%d questions after Close, %v", n.polls()-before, err)
				}
				wantServers(t, d, "10.0.0.1:1")
				wantLogs(t, n)
			})
		})
	}
}

func TestDiscoveryInterval(t *testing.T) {
	t.Parallel()
	for every, pause := range map[time.Duration]time.Duration{0: 30 * time.Second, time.Minute: time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			n := &discoveryNet{answer: answered("1\na|10.0.0.1|1\n")}
			d, err := newDiscovery("cfg:11211", DiscoveryOptions{Every: every, Dial: n.dial}, n.lookup)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(200 * pause)
			_ = d.Close()
			if len(n.asked) < 180 || len(n.asked) > 225 {
				t.Errorf("%d questions in 200 intervals", len(n.asked))
			}
			seen, longer := map[time.Duration]bool{}, 0
			for i := range n.asked[1:] {
				gap := n.asked[i+1].Sub(n.asked[i])
				seen[gap] = true
				if gap > pause {
					longer++
				}
				if gap < pause-pause/10 || gap > pause+pause/10 {
					t.Errorf("%v between two questions, want %v and a tenth at most", gap, pause)
				}
			}
			if len(seen) < 100 || longer == 0 || longer == len(n.asked)-1 {
				t.Errorf("%d different intervals, %d are longer than %v", len(seen), longer, pause)
			}
		})
	}
	for _, every := range []time.Duration{1, 9, 10, math.MaxInt64/2 - 1, math.MaxInt64 / 2, math.MaxInt64/2 + 1, math.MaxInt64} {
		for range 100 {
			if got := jittered(every); got < every-every/10 || got-every > every/10 {
				t.Errorf("%d with a jitter is %d", every, got)
			}
		}
	}
}

// Keys are asked for while the servers change.
func TestDiscoveryPickWhileSwapping(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &discoveryNet{answer: answered("0\na|10.0.0.1|1\n")}
		d := n.start(t)
		done := make(chan struct{})
		var pickers sync.WaitGroup
		for range 4 {
			pickers.Go(func() {
				for {
					select {
					case <-done:
						return
					case <-time.After(time.Second):
					}
					servers := d.Servers()
					if a, err := d.PickServer("key"); err != nil || a == nil || len(servers) == 0 {
						t.Error(a, err, servers)
					}
				}
			})
		}
		list := "a|10.0.0.1|1"
		for i := range 30 {
			list += fmt.Sprintf(" b|10.0.1.%d|%d", i, i+1)
			n.set(func(n *discoveryNet) { n.answer = answered(fmt.Sprintf("%d\n%s\n", i+1, list)) })
			n.nextPoll(t)
			if got := len(d.Servers()); got != i+2 {
				t.Errorf("%d servers, want %d", got, i+2)
			}
		}
		close(done)
		pickers.Wait()
		_ = d.Close()
	})
}

// fixed is a Discovery of n servers that asks nobody.
func fixed(n int) *Discovery {
	d := &Discovery{}
	now := &discovered{}
	for i := range n {
		now.addrs = append(now.addrs, serverAddr(fmt.Sprintf("10.0.0.%d:11211", i+1)))
	}
	d.now.Store(now)
	return d
}

func TestDiscoveryAgreesWithServerList(t *testing.T) {
	t.Parallel()
	for _, servers := range []int{1, 2, 3, 7, 60} {
		d := fixed(servers)
		var list memcache.ServerList
		if err := list.SetServers(d.Servers()...); err != nil {
			t.Fatal(err)
		}
		for range 10_000 {
			b := make([]byte, rand.IntN(300)) // more than memcached takes, more than is hashed
			for i := range b {
				b[i] = byte(rand.Uint32())
			}
			key := string(b)
			want, err := list.PickServer(key)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := d.PickServer(key); err != nil || got.String() != want.String() {
				t.Fatalf("key %q of %d bytes: %v, %v, want %v", key, len(key), got, err, want)
			}
			if got, want := keySum(key), crc32.ChecksumIEEE(b[:min(len(b), 256)]); got != want {
				t.Fatalf("sum %x of %q, want %x", got, key, want)
			}
		}
	}
}

func TestDiscoveryPickDoesNotAllocate(t *testing.T) {
	d := fixed(3)
	key := strings.Repeat("k", 250)
	if n := testing.AllocsPerRun(100, func() {
		a, _ := d.PickServer(key)
		_ = a.String()
		_ = a.Network()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestDiscoveryEachStops(t *testing.T) {
	t.Parallel()
	calls, broken := 0, errors.New("broken")
	if err := fixed(5).Each(func(net.Addr) error {
		if calls++; calls == 3 {
			return broken
		}
		return nil
	}); !errors.Is(err, broken) || calls != 3 {
		t.Errorf("%v after %d calls", err, calls)
	}
}

// The client takes its servers from a Discovery.
func TestDiscoveryUnderClient(t *testing.T) {
	t.Parallel()
	l := local(t)
	defer l.Close()
	answering := make(chan struct{})
	go func() {
		defer close(answering)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = bufio.NewReader(conn).ReadString('\n')
		_, _ = io.WriteString(conn, "VALUE key 0 5 1\r\nvalue\r\nEND\r\n")
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	endpoint := listen(t, local(t), answered("1\nnode-1|127.0.0.1|"+port+"\n"))
	d, err := NewDiscovery(endpoint, DiscoveryOptions{Every: farAway, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	c := memcache.NewFromSelector(d)
	c.Timeout = time.Minute
	it, err := c.Get("key")
	if err != nil || string(it.Value) != "value" {
		t.Fatal(it, err)
	}
	<-answering
}
