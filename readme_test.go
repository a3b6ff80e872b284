// SPDX-License-Identifier: Apache-2.0

package leash_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/leashcache/leash"
)

// The README says what the code says: its Go blocks are whole files that
// compile or pieces of example_test.go, its tables are those of the source, and
// what it names is there.

// block is a fenced piece of a Markdown file.
type block struct {
	lang string
	line int
	text string
}

func blocks(t *testing.T, file string) []block {
	t.Helper()
	var all []block
	var open *block
	n := 0
	for line := range strings.Lines(read(t, file)) {
		n++
		lang, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && open == nil:
			open = &block{lang: strings.TrimSpace(lang), line: n + 1}
		case fence:
			all = append(all, *open)
			open = nil
		case open != nil:
			open.text += line
		}
	}
	if open != nil {
		t.Fatalf("%s:%d: the block does not end", file, open.line)
	}
	return all
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestReadmeGoBlocks(t *testing.T) {
	t.Parallel()
	examples := strings.SplitAfter(read(t, "example_test.go"), "\n")
	whole := 0
	for _, b := range blocks(t, "README.md") {
		switch {
		case b.lang != "go":
		case strings.HasPrefix(b.text, "package "):
			whole++
			vet(t, b)
		case !contains(examples, strings.SplitAfter(b.text, "\n")):
			t.Errorf("README.md:%d: this block is no piece of example_test.go:\n%s", b.line, b.text)
		}
	}
	if whole == 0 {
		t.Error("no block of the README can be copied as a whole file")
	}
}

// contains reports whether piece is a part of file, at whatever indentation.
func contains(file, piece []string) bool {
	piece = unindent(piece[:len(piece)-1]) // what is after the last line end is no line
	for i := range len(file) - len(piece) + 1 {
		if slices.Equal(unindent(file[i:i+len(piece)]), piece) {
			return true
		}
	}
	return false
}

// unindent takes away the tabs that all lines begin with.
func unindent(lines []string) []string {
	least := 1 << 10
	for _, l := range lines {
		if strings.TrimSpace(l) != "" {
			least = min(least, len(l)-len(strings.TrimLeft(l, "\t")))
		}
	}
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = l[min(least, max(len(l)-1, 0)):] // an empty line has no tabs
	}
	return out
}

// vet lets the go command look at a file as if it were in this module.
func vet(t *testing.T, b block) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "block.go")
	if err := os.WriteFile(file, []byte(b.text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "go", "vet", file).CombinedOutput()
	if err != nil {
		t.Errorf("README.md:%d: %v\n%s", b.line, err, out)
	}
}

// table returns the rows of the README's table whose first heading is the one
// given, cells without backquotes.
func table(t *testing.T, heading string) [][]string {
	t.Helper()
	var rows [][]string
	inside := false
	for line := range strings.Lines(read(t, "README.md")) {
		line, ok := strings.CutPrefix(strings.TrimSpace(line), "| ")
		if !ok {
			inside = inside && strings.HasPrefix(line, "|---")
			continue
		}
		cells := strings.Split(strings.TrimSuffix(line, " |"), " | ")
		for i := range cells {
			cells[i] = strings.ReplaceAll(cells[i], "`", "")
		}
		if inside {
			rows = append(rows, cells)
		}
		inside = inside || cells[0] == heading
	}
	if len(rows) == 0 {
		t.Fatalf("README.md has no table with %q in its first heading", heading)
	}
	return rows
}

func parse(t *testing.T, file string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Defaults are told three times: in the comment of a field of Options, in what
// Options.complete sets, and in the README.
func TestReadmeOptions(t *testing.T) {
	t.Parallel()
	file := parse(t, "options.go")
	said, order := defaultsSaid(t, file)
	for field, value := range defaultsSet(file) {
		if said[field] != value {
			t.Errorf("the comment of Options.%s says that the default is %q, but the code sets %q", field, said[field], value)
		}
	}
	var rows []string
	for _, r := range table(t, "field") {
		rows = append(rows, r[0])
		if len(r) != 3 {
			t.Errorf("the row of %s has %d cells", r[0], len(r))
		} else if r[1] != said[r[0]] {
			t.Errorf("README: the default of %s is %q, but its comment in options.go says %q", r[0], r[1], said[r[0]])
		}
	}
	if !slices.Equal(rows, order) {
		t.Errorf("the README has the fields\n%v, but Options has\n%v", rows, order)
	}
}

var (
	saysDefault = regexp.MustCompile(`\bDefaults?:? (.+?)[.;,](?: |$)`)
	link        = regexp.MustCompile(`[\[\]]`)
)

// defaultsSaid returns what the comments of the fields of Options say.
func defaultsSaid(t *testing.T, file *ast.File) (said map[string]string, order []string) {
	t.Helper()
	said = map[string]string{}
	for _, f := range fieldsOf(t, file, "Options") {
		text := link.ReplaceAllString(strings.Join(strings.Fields(f.Doc.Text()), " "), "")
		phrases := []string{"none"}
		if m := saysDefault.FindStringSubmatch(text); m != nil {
			phrases = strings.Split(m[1], " and ")
		} else if strings.HasSuffix(text, "Required.") {
			phrases = []string{"required"}
		}
		if len(phrases) != len(f.Names) {
			t.Errorf("options.go: %d defaults for %v in %q", len(phrases), f.Names, text)
			continue
		}
		for i, name := range f.Names {
			order = append(order, name.Name)
			said[name.Name] = phrases[i]
		}
	}
	return said, order
}

func fieldsOf(t *testing.T, file *ast.File, name string) (fields []*ast.Field) {
	t.Helper()
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.TypeSpec); ok && s.Name.Name == name {
			fields = s.Type.(*ast.StructType).Fields.List
		}
		return fields == nil
	})
	if fields == nil {
		t.Fatalf("no struct %s", name)
	}
	return fields
}

// defaultsSet returns what the code sets, as the comments write it: by
// setDefault(&o.Field, value), or in "if o.Field == nil { o.Field = value }".
func defaultsSet(file *ast.File) map[string]string {
	set := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok && f.Name == "setDefault" {
				set[fieldOf(n.Args[0].(*ast.UnaryExpr).X)] = words(n.Args[1])
			}
		case *ast.IfStmt:
			c, ok := n.Cond.(*ast.BinaryExpr)
			if ok && fieldOf(c.X) != "" && words(c.Y) == "nil" && len(n.Body.List) == 1 {
				if a, ok := n.Body.List[0].(*ast.AssignStmt); ok && fieldOf(a.Lhs[0]) == fieldOf(c.X) {
					set[fieldOf(c.X)] = words(a.Rhs[0])
				}
			}
		}
		return true
	})
	return set
}

// fieldOf returns F for the expression o.F.
func fieldOf(e ast.Expr) string {
	if s, ok := e.(*ast.SelectorExpr); ok && words(s.X) == "o" {
		return s.Sel.Name
	}
	return ""
}

// words writes an expression as comments do: 10*time.Second as "10 s".
func words(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		return e.Value
	case *ast.Ident:
		return e.Name
	case *ast.CallExpr:
		return words(e.Fun) + "()"
	case *ast.BinaryExpr:
		return words(e.X) + strings.TrimPrefix(words(e.Y), "1")
	case *ast.SelectorExpr:
		switch name := words(e.X) + "." + e.Sel.Name; name {
		case "time.Millisecond":
			return "1 ms"
		case "time.Second":
			return "1 s"
		default:
			return name
		}
	}
	return fmt.Sprintf("%T", e)
}

// Functions that return an Option.
func TestReadmeCallOptions(t *testing.T) {
	t.Parallel()
	var want []string
	for _, d := range parse(t, "options.go").Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Recv != nil || !f.Name.IsExported() || f.Type.Results == nil {
			continue
		}
		if words(f.Type.Results.List[0].Type) == "Option" {
			want = append(want, f.Name.Name)
		}
	}
	var got []string
	for _, r := range table(t, "option") {
		name, _, _ := strings.Cut(r[0], "(")
		got = append(got, name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the README has the call options %v, but options.go has %v", got, want)
	}
}

func TestReadmeEvents(t *testing.T) {
	t.Parallel()
	var want, got []string
	for k := leash.EventKind(0); k.String() != "unknown"; k++ {
		want = append(want, k.String())
	}
	for _, r := range table(t, "event") {
		if len(r) == 2 { // the table of what happens when has three columns
			got = append(got, r[0])
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the README has the events\n%v, but observe.go has\n%v", got, want)
	}
}

// The layout of an entry is that of the comments at Store and in internal/entry,
// and the lines for an operator are those of redisstore.
func TestReadmeQuotes(t *testing.T) {
	t.Parallel()
	sources := comments(t, "store.go") + comments(t, "internal/entry/entry.go") + comments(t, "backends/redisstore/doc.go")
	quoted := 0
	for _, b := range blocks(t, "README.md") {
		if !strings.Contains(b.text, "ACL SETUSER") && !strings.Contains(b.text, " 16  ") && !strings.Contains(b.text, "CRC-32C") {
			continue
		}
		quoted++
		if !strings.Contains(sources, b.text) {
			t.Errorf("README.md:%d: this is not what the source says:\n%s", b.line, b.text)
		}
	}
	if quoted != 4 {
		t.Errorf("%d blocks quote the source, want the entry's two parts and the two ACL lines", quoted)
	}
}

// comments returns the indented lines of all comments, as they are shown.
func comments(t *testing.T, file string) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(read(t, file)) {
		if text, ok := strings.CutPrefix(line, "//\t"); ok {
			b.WriteString(text)
		}
	}
	return b.String()
}

// What documents name is there: files, targets of make, tests.
func TestReadmeNamesWhatIsThere(t *testing.T) {
	t.Parallel()
	makefile, tests := read(t, "Makefile"), testNames(t)
	for _, file := range []string{"README.md", "docs/design.md", "CONTRIBUTING.md"} {
		text := read(t, file)
		prose := fenced.ReplaceAllString(text, "")
		for _, m := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(prose, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", file, m[1], err)
			}
		}
		for _, m := range regexp.MustCompile("(?m)(?:`|^)make ([a-z]+)").FindAllStringSubmatch(text, -1) {
			if !strings.Contains(makefile, "\n"+m[1]+":") {
				t.Errorf("%s says make %s, which the Makefile does not have", file, m[1])
			}
		}
		for _, m := range regexp.MustCompile("`((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)`").FindAllStringSubmatch(text, -1) {
			if !tests[m[1]] {
				t.Errorf("%s names the test %s, which does not exist", file, m[1])
			}
		}
	}
}

var fenced = regexp.MustCompile("(?ms)^ *```.*?^ *```$")

func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		for _, m := range declared.FindAllStringSubmatch(read(t, path), -1) {
			names[m[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// Every function that users call has an example.
func TestReadmeExamples(t *testing.T) {
	t.Parallel()
	has := map[string]bool{}
	for _, d := range parse(t, "example_test.go").Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			if name, ok := strings.CutPrefix(f.Name.Name, "Example"); ok {
				has[name] = true
			}
		}
	}
	for _, file := range []string{"cache.go", "loader.go", "options.go", "observe.go"} {
		for _, d := range parse(t, file).Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || !f.Name.IsExported() {
				continue
			}
			name := f.Name.Name
			if f.Recv != nil {
				r := receiver(f.Recv.List[0].Type)
				if r != "Cache" && r != "Loader" || name == "Name" {
					continue
				}
				name = r + "_" + name
			}
			if !has[name] {
				t.Errorf("%s: %s has no example", file, strconv.Quote(name))
			}
		}
	}
}

func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}
