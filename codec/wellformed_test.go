// SPDX-License-Identifier: Apache-2.0

package codec

import "testing"

// The look ahead is paid on every hit: it has to stay far below the decoding.
func BenchmarkWellFormed(b *testing.B) {
	type item struct {
		ID       int64
		Name     string
		Price    float64
		Keywords []string
	}
	v := make([]item, 10)
	for i := range v {
		v[i] = item{int64(i), "a name of usual length", 9.99, []string{"one", "two"}}
	}
	data, err := MessagePack.Append(nil, v)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("op=look", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			_ = wellFormed(data)
		}
	})
	b.Run("op=decode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			_ = MessagePack.Decode(data, new([]item))
		}
	})
}
