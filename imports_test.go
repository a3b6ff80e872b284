// SPDX-License-Identifier: Apache-2.0

package leash_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/leashcache/leash"

// mayLink is what each package of this module may link, and why. A user pays for
// every line: in download, in binary size, in advisories. Names are those of
// modules; the module's own packages are written without its path, "." is the
// root, and they bring along what they may link themselves. Of the standard
// library only package testing is watched.
//
// A new package or a new dependency is one line here, and a reviewer's question:
// does everybody who imports this want that?
var mayLink = map[string]map[string]string{
	".": {
		"codec":             "values become bytes",
		"internal/entry":    "the layout of what is stored",
		"internal/schema":   "the fingerprint of the value's type",
		"golang.org/x/sync": "the semaphore that bounds computations, and many deletes at a time",
	},
	"codec": {
		"github.com/vmihailenco/msgpack/v5":   "MessagePack is the default encoding",
		"github.com/vmihailenco/tagparser/v2": "struct tags in msgpack",
	},
	"codec/zstd": {
		"codec":                         "it wraps another codec",
		"github.com/klauspost/compress": "the encoder; the standard library has none",
	},
	"codec/codectest": {
		"codec":   "what it tests",
		"testing": "a suite",
	},
	"backends/memstore": {
		"internal/entry": "the head of an entry, which a store reads and changes",
	},
	"backends/memcachestore": {
		"internal/entry":                 "the head of an entry, which a store reads and changes",
		"github.com/bradfitz/gomemcache": "the client",
	},
	"backends/redisstore": {
		"internal/entry":               "the head of an entry, which a store reads and changes",
		"github.com/redis/go-redis/v9": "the client",
		"github.com/cespare/xxhash/v2": "hashing in go-redis",
		"go.uber.org/atomic":           "counters in go-redis",
		"golang.org/x/sys":             "CPU features, for go-redis",
	},
	"backends/storetest": {
		".":              "the interface it tests",
		"internal/entry": "the entries that it stores",
		"testing":        "a suite",
	},
	"internal/entry":   {},
	"internal/far":     {},
	"internal/schema":  {},
	"internal/servers": {}, // programs use it too, so it does not link testing
}

// suites are the only packages that may link testing: in a user's program it
// registers flags and doubles the binary.
var suites = []string{"backends/storetest", "codec/codectest", "lock/locktest"}

func TestPackagesLinkOnlyWhatTheyMay(t *testing.T) {
	t.Parallel()
	linked := linkedByPackage(t)
	for _, pkg := range slices.Sorted(maps.Keys(linked)) {
		own, ok := mayLink[pkg]
		if !ok {
			t.Errorf("package %q is not in mayLink: say what it may link, and why", pkg)
			continue
		}
		allowed := closure(pkg)
		for _, dep := range linked[pkg] {
			if !allowed[dep] {
				t.Errorf("package %q links %q, which mayLink does not allow it", pkg, dep)
			}
		}
		for dep := range own {
			if !slices.Contains(linked[pkg], dep) {
				t.Errorf("package %q does not link %q: remove the line from mayLink", pkg, dep)
			}
		}
	}
	for pkg := range mayLink {
		if _, ok := linked[pkg]; !ok {
			t.Errorf("package %q does not exist: remove it from mayLink", pkg)
		}
	}
}

// What the table must never be made to allow.
func TestTableKeepsTheHouseRules(t *testing.T) {
	t.Parallel()
	for pkg, links := range mayLink {
		for dep, reason := range links {
			if reason == "" {
				t.Errorf("package %q: the line for %q has no reason", pkg, dep)
			}
		}
		suite := slices.Contains(suites, pkg)
		backend := strings.HasPrefix(pkg, "backends/") && !suite
		for dep := range closure(pkg) {
			switch {
			case dep == "testing" && !suite:
				t.Errorf("package %q may link testing, which is for the suites alone", pkg)
			case strings.HasPrefix(dep, "backends/"):
				t.Errorf("package %q may link %q: nothing of this module brings a backend along", pkg, dep)
			case backend && dep == ".":
				t.Errorf("package %q may link leash: a backend implements Store without importing it", pkg)
			case strings.HasPrefix(pkg, "internal/"):
				t.Errorf("package %q may link %q: internal packages use the standard library only", pkg, dep)
			}
		}
	}
}

// closure is everything that pkg may link, also through this module's packages.
func closure(pkg string) map[string]bool {
	all := map[string]bool{}
	for dep := range mayLink[pkg] {
		all[dep] = true
		maps.Copy(all, closure(dep))
	}
	return all
}

type listed struct {
	ImportPath string
	Standard   bool
	DepOnly    bool
	Module     struct{ Path string }
	Deps       []string
}

// name is how the table calls the package, or "" for what it does not watch.
func (p listed) name() string {
	switch {
	case p.Standard && p.ImportPath == "testing":
		return "testing"
	case p.Standard:
		return ""
	case p.ImportPath == module:
		return "."
	case p.Module.Path == module:
		return strings.TrimPrefix(p.ImportPath, module+"/")
	}
	return p.Module.Path
}

// linkedByPackage asks the go command, which knows what a build links.
func linkedByPackage(t *testing.T) map[string][]string {
	t.Helper()
	packages := listPackages(t)
	names := map[string]string{}
	for _, p := range packages {
		names[p.ImportPath] = p.name()
	}
	linked := map[string][]string{}
	for _, p := range packages {
		if p.DepOnly {
			continue
		}
		var deps []string
		for _, path := range p.Deps {
			if name := names[path]; name != "" {
				deps = append(deps, name)
			}
		}
		slices.Sort(deps)
		linked[p.name()] = slices.Compact(deps)
	}
	return linked
}

func listPackages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps",
		"-json=ImportPath,Standard,DepOnly,Module,Deps", "./...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var packages []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}
