// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
)

// peer is one end of a pipe on which both sides call each other, a line of JSON
// for each call and each reply.
type peer struct {
	handle func(ctx context.Context, method string, in json.RawMessage) (any, error)

	out     sync.Mutex // held while a line is written
	encoder *json.Encoder

	mu      sync.Mutex // guards what follows
	next    uint64
	waiting map[uint64]chan message       // for replies
	serving map[uint64]context.CancelFunc // the other side's calls
	gone    bool
}

type message struct {
	ID     uint64
	Kind   messageKind
	Method string          `json:",omitempty"`
	Body   json.RawMessage `json:",omitempty"`
	Err    string          `json:",omitempty"`
}

type messageKind string

const (
	callKind   messageKind = "call"
	replyKind  messageKind = "reply"
	cancelKind messageKind = "cancel"
)

var errGone = errors.New("nodes: the process has gone")

func newPeer(w io.Writer) *peer {
	return &peer{
		encoder: json.NewEncoder(w),
		waiting: map[uint64]chan message{},
		serving: map[uint64]context.CancelFunc{},
	}
}

// listen reads until the pipe ends. Calls in flight then fail.
func (p *peer) listen(r io.Reader) {
	d := json.NewDecoder(r)
	for {
		var m message
		if d.Decode(&m) != nil {
			break
		}
		p.heard(m)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = true
	for _, ch := range p.waiting {
		close(ch)
	}
	clear(p.waiting)
	for _, cancel := range p.serving {
		cancel()
	}
}

func (p *peer) heard(m message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch m.Kind {
	case callKind:
		ctx, cancel := context.WithCancel(context.Background())
		p.serving[m.ID] = cancel
		go p.serve(ctx, m)
	case replyKind:
		if ch := p.waiting[m.ID]; ch != nil {
			delete(p.waiting, m.ID)
			ch <- m
		}
	case cancelKind:
		if cancel := p.serving[m.ID]; cancel != nil {
			cancel()
		}
	}
}

func (p *peer) serve(ctx context.Context, m message) {
	out, err := p.handle(ctx, m.Method, m.Body)
	reply := message{ID: m.ID, Kind: replyKind}
	if err == nil {
		reply.Body, err = json.Marshal(out)
	}
	if err != nil {
		reply.Err = err.Error()
	}
	p.mu.Lock()
	p.serving[m.ID]()
	delete(p.serving, m.ID)
	p.mu.Unlock()
	_ = p.write(reply) // if it fails the other side has gone
}

func (p *peer) write(m message) error {
	p.out.Lock()
	defer p.out.Unlock()
	return p.encoder.Encode(m)
}

// call calls the other side. When ctx ends first, the other side is told.
func (p *peer) call(ctx context.Context, method string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	ch := make(chan message, 1)
	p.mu.Lock()
	p.next++
	id := p.next
	if p.gone {
		p.mu.Unlock()
		return errGone
	}
	p.waiting[id] = ch
	p.mu.Unlock()
	if err := p.write(message{ID: id, Kind: callKind, Method: method, Body: body}); err != nil {
		return errors.Join(errGone, err)
	}
	select {
	case m, ok := <-ch:
		switch {
		case !ok:
			return errGone
		case m.Err != "":
			return errors.New(m.Err)
		}
		if out == nil {
			return nil
		}
		return json.Unmarshal(m.Body, out)
	case <-ctx.Done():
		p.mu.Lock()
		delete(p.waiting, id)
		p.mu.Unlock()
		_ = p.write(message{ID: id, Kind: cancelKind}) // if it fails the other side has gone
		return ctx.Err()
	}
}
