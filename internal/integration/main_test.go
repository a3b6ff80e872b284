// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"flag"
	"os"
	"testing"

	"github.com/leashcache/leash/internal/integration/nodes"
)

func TestMain(m *testing.M) {
	nodes.Main()
	// Tests that run in parallel wait most of the time.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	code := m.Run()
	tearDown()
	os.Exit(code)
}
