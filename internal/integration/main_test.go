// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"testing"

	"github.com/leashcache/leash/internal/integration/nodes"
)

func TestMain(m *testing.M) {
	nodes.Main()
	code := m.Run()
	tearDown()
	os.Exit(code)
}
