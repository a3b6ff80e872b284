// SPDX-License-Identifier: Apache-2.0

package codec_test

import (
	"fmt"
	"io/fs"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/leashcache/leash/codec"
	"github.com/leashcache/leash/codec/codectest"
)

func TestMessagePackKeepsTheRules(t *testing.T) {
	codectest.Run(t, codec.MessagePack, append(append(codectest.Values(), refusedByAll()...), refusedByMessagePack()...)...)
}

func TestJSONKeepsTheRules(t *testing.T) {
	codectest.Run(t, codec.JSON, append(append(codectest.Values(), refusedByAll()...), refusedByJSON()...)...)
}

func TestBytesKeepsTheRules(t *testing.T) {
	type text string
	type octet byte
	codectest.Run(t, codec.Bytes,
		codectest.Of("bytes", []byte("\x00\xffbytes")),
		codectest.Of("empty bytes", []byte{}),
		codectest.Of("string", "Grüße\xff"),
		codectest.Of("empty string", ""),
		codectest.Of("named string", text("text")),
		codectest.Of("named bytes", raw("raw")),
		codectest.Of("bytes of a named type", []octet{1, 2}),
		codectest.Refused("number", 1),
		codectest.Refused("struct", Plain{ID: 1}),
		codectest.Refused("pointer", &Plain{ID: 1}),
		codectest.Refused("runes", []rune("ab")),
		codectest.Refused("array", [2]byte{1, 2}),
		codectest.Refused[any]("any", "text"),
	)
}

type raw []byte

// refusedByAll are the types of which neither format brings a value back.
func refusedByAll() []codectest.Sample {
	three, none := new(3), (*int)(nil)
	return []codectest.Sample{
		codectest.Refused("channel", struct{ C chan int }{make(chan int)}),
		codectest.Refused("function", struct{ F func() }{func() {}}),
		codectest.Refused("complex", struct{ Z complex128 }{1i}),
		codectest.Refused("unsafe pointer", struct{ P unsafe.Pointer }{}),
		codectest.Refused("all unexported", secretive{id: 1}),
		codectest.Refused("all unexported below", struct{ List []secretive }{[]secretive{{id: 1}}}),
		codectest.Refused("named time", stamp(time.Unix(1, 0))),
		codectest.Refused("error", struct{ Err error }{&fs.PathError{Op: "open", Path: "p", Err: fs.ErrNotExist}}),
		codectest.Refused("interface", struct{ S fmt.Stringer }{time.Second}),
		codectest.Refused("pointer to nil pointer", struct{ P **int }{&none}),
		codectest.Refused("keys of pointers", map[*int]string{three: "three"}),
		codectest.Refused("keys of any", map[any]int{1: 1}),
		codectest.Refused("embedded time", meeting{Time: time.Unix(1, 0), Room: "R"}),
		codectest.Refused("writes only", redacted("secret")),
		codectest.Refused("pointer receiver in a map", map[string]big.Int{"a": *big.NewInt(1)}),
		codectest.Refused("exported and empty", struct {
			Locked
			N int
		}{Locked{1}, 2}),
	}
}

func refusedByMessagePack() []codectest.Sample {
	return []codectest.Sample{
		codectest.Refused("nil embedded pointer", struct {
			*Plain
			N int
		}{nil, 1}),
		codectest.Refused("uintptr", uintptr(1)),
		codectest.Refused("left out", struct {
			A int `msgpack:"-"`
		}{1}),
		codectest.Refused("one name twice", struct {
			A int `msgpack:"n"`
			B int `msgpack:"n"`
		}{1, 2}),
		codectest.Refused("shadowed later", struct {
			Plain
			ID int64
		}{Plain{1}, 2}),
		codectest.Refused("embedded and unexported", struct{ number }{1}),
		codectest.Refused("reads only", readsText(1)),
	}
}

func refusedByJSON() []codectest.Sample {
	return []codectest.Sample{
		codectest.Refused("left out", struct {
			A int `json:"-"`
		}{1}),
		codectest.Refused("one name twice", struct {
			Plain
			Twin
		}{Plain{1}, Twin{2}}),
		codectest.Refused("shadowed", struct {
			Plain
			ID int64
		}{Plain{1}, 2}),
		codectest.Refused("embeds itself", loop{N: 1, loop: &loop{N: 2}}),
		codectest.Refused("embedded unexported pointer", struct {
			*inner
			N int
		}{&inner{1}, 2}),
		codectest.Refused("keys of structs", map[Plain]int{{1}: 1}),
		codectest.Refused("keys of floats", map[float64]int{1: 1}),
		codectest.Refused("keys of bools", map[bool]int{true: 1}),
		codectest.Refused("keys that write only", map[writesKey]int{1: 1}),
		codectest.Refused("reads only", readsText(1)),
	}
}

// Plain has one field.
type Plain struct{ ID int64 }

// Twin has the same field as [Plain].
type Twin struct{ ID int64 }

type secretive struct{ id int }

type stamp time.Time

type meeting struct {
	time.Time
	Room string
}

// redacted is written for logs, not to be read again.
type redacted string

func (redacted) MarshalText() ([]byte, error) { return []byte("***"), nil }

// Locked is exported and has nothing to show.
type Locked struct{ state int }

type number int

type inner struct{ X int }

type loop struct {
	N int
	*loop
}

type writesKey int

func (k writesKey) MarshalText() ([]byte, error) { return []byte("key"), nil }

type readsText int

func (r *readsText) UnmarshalText(b []byte) error {
	_, err := fmt.Sscan(string(b), (*int)(r))
	return err
}

func TestCheckSaysWhereAndWhy(t *testing.T) {
	type leaf struct{ Done chan int }
	type user struct {
		Name  string
		Peers map[string][]*leaf
		Err   error
	}
	err := codec.MessagePack.Check(reflect.TypeFor[user]())
	for _, want := range []string{
		"codec: msgpack: codec_test.user.Peers[][].Done: a channel cannot be written",
		"codec: msgpack: codec_test.user.Err: what is in an interface (error) is written without its type, so it cannot be read",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Check = %v\nwant it to hold %q", err, want)
		}
	}
}

func TestCheckAccepts(t *testing.T) {
	type recursive struct {
		Next  *recursive
		Slice []recursive
		Map   map[string]recursive
	}
	type ladder []ladder
	for _, typ := range []reflect.Type{
		reflect.TypeFor[recursive](),
		reflect.TypeFor[ladder](),
		reflect.TypeFor[any](),
		reflect.TypeFor[map[string]any](),
		reflect.TypeFor[[]any](),
		reflect.TypeFor[mixed](),
		reflect.TypeFor[struct{ time.Time }](),
		reflect.TypeFor[overridden](),
		reflect.TypeFor[map[string]*big.Int](),
		reflect.TypeFor[[]big.Int](),
		reflect.TypeFor[struct {
			Plain `json:"plain" msgpack:",noinline"`
			ID    int64
		}](),
	} {
		for _, c := range []codec.Codec{codec.MessagePack, codec.JSON} {
			if err := c.Check(typ); err != nil {
				t.Errorf("%s: %s: %v", c.Name(), typ, err)
			}
		}
	}
}

func TestCheckEndsOnTypesThatTheEncoderDoesNot(t *testing.T) {
	type p *p
	type q struct{ *q }
	for _, typ := range []reflect.Type{reflect.TypeFor[p](), reflect.TypeFor[q]()} {
		for _, c := range []codec.Codec{codec.MessagePack, codec.JSON} {
			if c.Check(typ) == nil {
				t.Errorf("%s: Check accepts %s", c.Name(), typ)
			}
		}
	}
	if codec.JSON.Check(nil) == nil {
		t.Error("Check accepts no type at all")
	}
}

// mixed has exported and unexported fields, as most structs do.
type mixed struct {
	Name  string
	cache map[string]chan int
	secretive
}

// overridden embeds a time and writes itself nevertheless.
type overridden struct {
	time.Time
	Room string
}

func (o overridden) MarshalBinary() ([]byte, error) { return []byte(o.Room), nil }

func (o *overridden) UnmarshalBinary(b []byte) error { o.Room = string(b); return nil }

func (o overridden) MarshalJSON() ([]byte, error) { return []byte(`"` + o.Room + `"`), nil }

func (o *overridden) UnmarshalJSON(b []byte) error { o.Room = strings.Trim(string(b), `"`); return nil }

func TestMarshalersWithPointerReceiversAreUsed(t *testing.T) {
	type price struct{ Amount big.Int }
	want := price{*big.NewInt(42)}
	for _, c := range []codec.Codec{codec.MessagePack, codec.JSON} {
		b, err := c.Append(nil, want) // by value: nothing has an address
		var got price
		if err == nil {
			err = c.Decode(b, &got)
		}
		if err != nil || got.Amount.Cmp(&want.Amount) != 0 {
			t.Errorf("%s: got %v, %v", c.Name(), got, err)
		}
	}
}

// Entries written by one release are read by the next: these never change.
func TestWrittenFormsStayAsTheyAre(t *testing.T) {
	type golden struct {
		ID    int64
		Name  string `json:"name" msgpack:"name"`
		At    time.Time
		Maybe *time.Time
		Sub   *Plain
		Tags  []string
	}
	at := time.Unix(1_700_000_000, 500).UTC()
	v := golden{ID: 1, Name: "ä<", At: at, Maybe: &at, Tags: []string{"t"}}
	for _, tt := range []struct {
		codec codec.Codec
		want  string
	}{
		{codec.MessagePack, "\x86\xa2ID\xd3\x00\x00\x00\x00\x00\x00\x00\x01\xa4name\xa3ä<\xa2At\xd7\xff\x00\x00\x07\xd0\x65\x53\xf1\x00\xa5Maybe\xd7\xff\x00\x00\x07\xd0\x65\x53\xf1\x00\xa3Sub\xc0\xa4Tags\x91\xa1t"},
		{codec.JSON, `{"ID":1,"name":"ä<","At":"2023-11-14T22:13:20.0000005Z","Maybe":"2023-11-14T22:13:20.0000005Z","Sub":null,"Tags":["t"]}`},
	} {
		b, err := tt.codec.Append(nil, v)
		if err != nil || string(b) != tt.want {
			t.Errorf("%s:\n got %q, %v\nwant %q", tt.codec.Name(), b, err, tt.want)
		}
		var back golden
		if err := tt.codec.Decode([]byte(tt.want), &back); err != nil || back.Name != v.Name || !back.Maybe.Equal(at) {
			t.Errorf("%s: got %+v, %v", tt.codec.Name(), back, err)
		}
	}
}

func TestNames(t *testing.T) {
	for c, want := range map[codec.Codec]string{codec.MessagePack: "msgpack", codec.JSON: "json", codec.Bytes: "bytes"} {
		if got := c.Name(); got != want {
			t.Errorf("Name = %q, want %q: entries in stores carry it", got, want)
		}
	}
}

func TestBytesTakesNothingElse(t *testing.T) {
	var noBytes *[]byte
	for _, v := range []any{nil, noBytes, 1, []int{1}, struct{}{}} {
		if _, err := codec.Bytes.Append(nil, v); err == nil {
			t.Errorf("Append takes %T", v)
		}
	}
	for _, v := range []any{nil, noBytes, new(int), []byte{}, new([]int)} {
		if err := codec.Bytes.Decode([]byte("x"), v); err == nil {
			t.Errorf("Decode takes %T", v)
		}
	}
}

func TestMessagePackBelievesNoLength(t *testing.T) {
	nest := func(n int) string { return strings.Repeat("\x91", n) + "\xc0" }
	for name, data := range map[string]string{
		"array of four billion":    "\xdd\xff\xff\xff\xff\xc0",
		"map of four billion":      "\xdf\xff\xff\xff\xff\xa1a\xc0",
		"bytes of four gigabytes":  "\xc6\xff\xff\xff\xffx",
		"extension without an end": "\xc9\xff\xff\xff\xff\x01x",
		"arrays in arrays":         strings.Repeat("\xdc\x40\x00", 10_000) + strings.Repeat("\xc0", 0x4000),
		"a million arrays deep":    nest(1_000_000),
		"no such code":             "\x91\xc1",
		"left over":                "\xc0\xc0",
		"nothing":                  "",
		"half a length":            "\xdd\x00",
	} {
		for _, v := range []any{new(any), new([]int), new([]any), new(map[string]any), new(map[string]int), new([]byte), new(string), new([]string)} {
			if err := codec.MessagePack.Decode([]byte(data), v); err == nil {
				t.Errorf("%s: read into %T", name, v)
			}
		}
	}
	if err := codec.MessagePack.Decode([]byte(nest(1000)), new(any)); err != nil {
		t.Errorf("a thousand arrays deep: %v", err)
	}
}

// The bubble fails if decoding leaves a goroutine in it, as msgpack.Unmarshal does.
func TestDecodingLeavesNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []codec.Codec{codec.MessagePack, codec.JSON} {
			for _, v := range seeds() {
				b, err := c.Append(nil, &v)
				if err == nil {
					err = c.Decode(b, new(everything))
				}
				if err != nil {
					t.Errorf("%s: %v", c.Name(), err)
				}
			}
		}
	})
}

func TestMessagePackTurnsPanicsIntoErrors(t *testing.T) {
	key := []byte("\x81\x91\x01\x01") // {[1]: 1}
	if err := codec.MessagePack.Decode(key, new(map[any]int)); err == nil {
		t.Error("a slice became a key")
	}
	type wrong struct {
		N int `msgpack:",intern"`
	}
	if _, err := codec.MessagePack.Append(nil, wrong{}); err == nil {
		t.Error("a number was interned")
	}
}

func TestAppendIntoRoomAllocatesLittle(t *testing.T) {
	type user struct {
		ID         int64
		Name, Mail string
		At         time.Time
	}
	u := &user{1, "name", "mail", time.Unix(1, 0)}
	dst := make([]byte, 0, 1024)
	for c, most := range map[codec.Codec]float64{codec.MessagePack: 2, codec.JSON: 2, codec.Bytes: 1} {
		var v any = u
		if c == codec.Bytes {
			v = new("text")
		}
		got := testing.AllocsPerRun(200, func() { _, _ = c.Append(dst, v) })
		if got > most && !raceEnabled {
			t.Errorf("%s: %v allocations, want %v at most", c.Name(), got, most)
		}
	}
}

func FuzzDecodeMessagePack(f *testing.F) {
	for _, v := range seeds() {
		b, err := codec.MessagePack.Append(nil, v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("\xdd\xff\xff\xff\xff"))
	f.Add([]byte("\x81\x91\x01\x01"))
	f.Fuzz(func(t *testing.T, data []byte) { fuzzDecode(t, codec.MessagePack, data) })
}

func FuzzDecodeJSON(f *testing.F) {
	for _, v := range seeds() {
		b, err := codec.JSON.Append(nil, v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) { fuzzDecode(t, codec.JSON, data) })
}

// everything has a field for each way through a decoder.
type everything struct {
	Plain
	S     string
	B     []byte
	F     float64
	At    time.Time
	Maybe *time.Time
	Any   any
	Map   map[string]any
	Keys  map[int]string
	Strs  []string
	Arr   [4]byte
	Ints  [2]int16
	Big   *big.Int
	Next  *everything
	List  []everything
}

func seeds() []everything {
	at := time.Unix(1_700_000_000, 1).UTC()
	return []everything{
		{},
		{
			Plain: Plain{1}, S: "s", B: []byte{1}, F: 1.5, At: at, Maybe: &at, Any: []any{1, "a"},
			Map: map[string]any{"a": nil}, Keys: map[int]string{1: "x"}, Strs: []string{"a"}, Arr: [4]byte{1},
			Ints: [2]int16{-1, 2}, Big: big.NewInt(1 << 40), Next: &everything{S: "n"}, List: []everything{{}},
		},
	}
}

// fuzzDecode asks that whatever could be read can be written and read again.
func fuzzDecode(t *testing.T, c codec.Codec, data []byte) {
	_ = c.Decode(data, new(any))
	_ = c.Decode(data, new(map[string]any))
	var v everything
	if c.Decode(data, &v) != nil {
		return
	}
	b, err := c.Append(nil, &v)
	if err != nil {
		t.Fatalf("read from %q and not to be written: %v", data, err)
	}
	if err := c.Decode(b, new(everything)); err != nil {
		t.Fatalf("written as %q and not to be read: %v", b, err)
	}
}

func BenchmarkCodec(b *testing.B) {
	v := seeds()[1]
	for _, c := range []codec.Codec{codec.MessagePack, codec.JSON} {
		data, err := c.Append(nil, &v)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("op=append/codec="+c.Name(), func(b *testing.B) {
			b.ReportAllocs()
			dst := make([]byte, 0, 2*len(data))
			for b.Loop() {
				_, _ = c.Append(dst, &v)
			}
		})
		b.Run("op=decode/codec="+c.Name(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = c.Decode(data, new(everything))
			}
		})
	}
}
