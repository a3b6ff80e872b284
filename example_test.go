// SPDX-License-Identifier: Apache-2.0

package leash_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"expvar"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/backends/memcachestore"
	"github.com/leashcache/leash/backends/memstore"
)

// The README shows pieces of this file; readme_test.go holds it to that. A
// memstore.New() stands where a service has its redisstore.New(rdb), so that
// every example runs without a server.

// User is what most examples keep.
type User struct {
	ID   int64
	Name string
}

// UserByID is the query that is worth a cache.
func (db Database) UserByID(ctx context.Context, id int64) (User, error) {
	var u User
	err := db.QueryRowContext(ctx, "SELECT id, name FROM users WHERE id = $1", id).Scan(&u.ID, &u.Name)
	return u, err
}

// UsersByID is the same for many at once.
func (db Database) UsersByID(ctx context.Context, ids []int64) (map[int64]User, error) {
	rows, err := db.QueryContext(ctx, "SELECT id, name FROM users WHERE id = ANY($1)", ids)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	users := map[int64]User{}
	for rows.Next() {
		var u User
		if err := rows.Scan(&u.ID, &u.Name); err != nil {
			return nil, err
		}
		users[u.ID] = u
	}
	return users, rows.Err()
}

// A cache on memcached. Connect looks the names up and sends nothing yet.
func ExampleNew_memcached() {
	store, err := memcachestore.Connect([]string{"127.0.0.1:11211", "127.0.0.1:11212"}, memcachestore.ConnectOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	users, err := leash.New[User]("users", store, leash.Options{TTL: 5 * time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(users.Name())
	// Output: users
}

// New starts nothing and sends nothing. It says everything that is wrong with
// its arguments at once.
func ExampleNew() {
	_, err := leash.New[User]("my users", memstore.New(), leash.Options{Jitter: 10})
	fmt.Println(err)
	// Output:
	// leash: name "my users" has " " in it: use visible ASCII without blanks and braces
	// leash: Options.TTL is not set: say how long a value is fresh, for example 5 * time.Minute
	// leash: Options.Jitter is 10: it is a part of the TTL, below 1; negative is off
}

// A handler with a database query behind it. Twenty requests for a user who is
// not in the cache make one query.
func ExampleCache_GetOrCompute() {
	db := openDatabase(User{42, "Ann"})
	defer db.Close()

	users, err := leash.New[User]("users", memstore.New(), leash.Options{
		TTL:      5 * time.Minute,
		NotFound: []error{sql.ErrNoRows},
	})
	if err != nil {
		log.Fatal(err)
	}
	handler := func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
		if err != nil {
			http.Error(w, "the id must be a number", http.StatusBadRequest)
			return
		}
		u, err := users.GetOrCompute(r.Context(), strconv.FormatInt(id, 10), func(ctx context.Context) (User, error) {
			return db.UserByID(ctx, id) // with the ctx given here, not with the request's
		})
		switch {
		case errors.Is(err, leash.ErrNotFound):
			http.Error(w, "no such user", http.StatusNotFound)
		case err != nil:
			http.Error(w, "try again later", http.StatusServiceUnavailable)
		default:
			_ = json.NewEncoder(w).Encode(u) // fails when the client has left
		}
	}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /users/{id}", handler)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { get(mux, "/users/42") })
	}
	wg.Wait()
	fmt.Println(get(mux, "/users/42"))
	fmt.Println(get(mux, "/users/7"))
	fmt.Println("queries:", db.queries())
	// Output:
	// 200 {"ID":42,"Name":"Ann"}
	// 404 no such user
	// queries: 2
}

// "Not found" is an answer, and no failure: it matches ErrNotFound and the
// database's own error, also when it comes from the cache.
func ExampleCache_GetOrCompute_notFound() {
	db := openDatabase(User{42, "Ann"})
	defer db.Close()

	users, err := leash.New[User]("users", memstore.New(), leash.Options{
		TTL:         5 * time.Minute,
		NotFound:    []error{sql.ErrNoRows},
		NotFoundTTL: 10 * time.Second, // without it, "not found" is not kept
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	for range 3 {
		_, err := users.GetOrCompute(ctx, "7", func(ctx context.Context) (User, error) {
			return db.UserByID(ctx, 7)
		})
		fmt.Println(errors.Is(err, leash.ErrNotFound), errors.Is(err, sql.ErrNoRows))
	}
	fmt.Println("queries:", db.queries())
	// Output:
	// true true
	// true true
	// true true
	// queries: 1
}

// Within StaleWhileRevalidate nobody waits: everybody gets the old value at once
// while one node computes the new one.
func ExampleCache_GetOrCompute_staleWhileRevalidate() {
	prices, err := leash.New[int]("prices", memstore.New(), leash.Options{
		TTL:                  5 * time.Minute,
		StaleWhileRevalidate: time.Hour,
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	if err := prices.Set(ctx, "tea", 300, leash.TTL(10*time.Millisecond)); err != nil {
		log.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)

	computed := make(chan struct{})
	price, outcome, err := prices.Fetch(ctx, "tea", func(context.Context) (int, error) {
		defer close(computed)
		return 320, nil
	})
	fmt.Println(price, outcome.Status, err)
	<-computed // in the background
	// Output: 300 UPDATING <nil>
}

// Within StaleIfError a computation that fails costs nobody the old value, and
// is not tried again, by any node, until StaleBackoff is over.
func ExampleCache_GetOrCompute_staleIfError() {
	prices, err := leash.New[int]("prices", memstore.New(), leash.Options{
		TTL:          5 * time.Minute,
		StaleIfError: time.Hour,
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	if err := prices.Set(ctx, "tea", 300, leash.TTL(10*time.Millisecond)); err != nil {
		log.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)

	tries := 0
	for range 3 {
		price, outcome, err := prices.Fetch(ctx, "tea", func(context.Context) (int, error) {
			tries++
			return 0, errors.New("the price service is down")
		})
		fmt.Println(price, outcome.Status, err)
	}
	fmt.Println("tries:", tries)
	// Output:
	// 300 STALE <nil>
	// 300 STALE <nil>
	// 300 STALE <nil>
	// tries: 1
}

// A computation that panics is an error of its callers, and the process goes on.
func ExampleCache_GetOrCompute_panic() {
	prices, err := leash.New[int]("prices", memstore.New(), leash.Options{TTL: time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	_, err = prices.GetOrCompute(context.Background(), "tea", func(context.Context) (int, error) {
		list := strings.Fields("300 320")
		return strconv.Atoi(list[3])
	})
	if p, ok := errors.AsType[*leash.PanicError](err); ok {
		fmt.Println("panic:", p.Value, "- stack:", len(p.Stack) > 0)
	}
	// Output: panic: runtime error: index out of range [3] with length 2 - stack: true
}

// Fetch tells how the call was answered, in the form of a Cache-Status header
// (RFC 9211).
func ExampleCache_Fetch() {
	db := openDatabase(User{42, "Ann"})
	defer db.Close()

	users, err := leash.New[User]("users", memstore.New(), leash.Options{TTL: 5 * time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	handler := func(w http.ResponseWriter, r *http.Request) {
		u, outcome, err := users.Fetch(r.Context(), "42", func(ctx context.Context) (User, error) {
			return db.UserByID(ctx, 42)
		})
		w.Header().Set("Cache-Status", outcome.CacheStatus("leash"))
		if err != nil {
			http.Error(w, "try again later", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, u.Name)
	}

	for range 2 {
		w := httptest.NewRecorder()
		handler(w, httptest.NewRequest(http.MethodGet, "/", nil))
		status, ttl, _ := strings.Cut(w.Header().Get("Cache-Status"), "; ttl=")
		_, detail, _ := strings.Cut(ttl, "; ")
		fmt.Println(status, "...", detail)
	}
	// Output:
	// leash; fwd=uri-miss; stored ... detail=MISS
	// leash; hit ... detail=HIT
}

// Get only looks: it computes nothing and waits for nobody.
func ExampleCache_Get() {
	users, err := leash.New[User]("users", memstore.New(), leash.Options{TTL: time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	_, ok, err := users.Get(ctx, "42")
	fmt.Println(ok, err)
	if err := users.Set(ctx, "42", User{42, "Ann"}); err != nil {
		log.Fatal(err)
	}
	u, ok, err := users.Get(ctx, "42")
	fmt.Println(u.Name, ok, err)
	// Output:
	// false <nil>
	// Ann true <nil>
}

// Set stores what is known without a computation, for example from a message
// that tells of a change.
func ExampleCache_Set() {
	users, err := leash.New[User]("users", memstore.New(), leash.Options{TTL: time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	if err := users.Set(ctx, "42", User{42, "Ann"}, leash.TTL(time.Hour)); err != nil {
		log.Fatal(err)
	}
	u, err := users.GetOrCompute(ctx, "42", func(context.Context) (User, error) {
		return User{}, errors.New("nobody calls this")
	})
	fmt.Println(u.Name, err)
	// Output: Ann <nil>
}

// Delete after the transaction has committed, never inside it: a call in between
// would compute the old value again and keep it.
func ExampleCache_Delete() {
	db := openDatabase(User{42, "Ann"})
	defer db.Close()
	users, err := leash.New[User]("users", memstore.New(), leash.Options{TTL: 5 * time.Minute})
	if err != nil {
		log.Fatal(err)
	}

	rename := func(ctx context.Context, id int64, name string) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // does nothing after Commit
		if _, err := tx.ExecContext(ctx, "UPDATE users SET name = $2 WHERE id = $1", id, name); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		// The request may be gone by now, and the old value must go all the same.
		return users.Delete(context.WithoutCancel(ctx), strconv.FormatInt(id, 10))
	}

	ctx := context.Background()
	load := func(ctx context.Context) (User, error) { return db.UserByID(ctx, 42) }
	before, _ := users.GetOrCompute(ctx, "42", load)
	err = rename(ctx, 42, "Anna")
	after, _ := users.GetOrCompute(ctx, "42", load)
	fmt.Println(before.Name, after.Name, err)
	// Output: Ann Anna <nil>
}

// Close when the server has stopped taking requests and before the store's client
// is closed: what still runs is cancelled, and its leases are given up.
func ExampleCache_Close() {
	users, err := leash.New[User]("users", memstore.New(), leash.Options{TTL: time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{}

	shutdown := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return errors.Join(server.Shutdown(ctx), users.Close(ctx))
	}
	fmt.Println(shutdown())

	_, err = users.GetOrCompute(context.Background(), "42", func(context.Context) (User, error) { return User{}, nil })
	fmt.Println(errors.Is(err, leash.ErrClosed))
	// Output:
	// <nil>
	// true
}

// Stats counts since New.
func ExampleCache_Stats() {
	users, err := leash.New[User]("users", memstore.New(), leash.Options{TTL: time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	for range 5 {
		_, _ = users.GetOrCompute(context.Background(), "42", func(context.Context) (User, error) {
			return User{42, "Ann"}, nil
		})
	}
	s := users.Stats()
	fmt.Println("hits:", s.Count(leash.EventHit), "misses:", s.Count(leash.EventMiss), "computations:", s.Count(leash.EventCompute))
	fmt.Println("failed reads:", s.StoreErrors(leash.OpGet))
	// Output:
	// hits: 4 misses: 1 computations: 1
	// failed reads: 0
}

// The TTL of one call.
func ExampleTTL() {
	reports, err := leash.New[string]("reports", memstore.New(), leash.Options{TTL: time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	load := func(context.Context) (string, error) { return "closed books do not change", nil }
	_, err = reports.GetOrCompute(ctx, "2019", load, leash.TTL(24*time.Hour))
	_, outcome, _ := reports.Fetch(ctx, "2019", load)
	fmt.Println(outcome.TTL > time.Hour, err)
	// Output: true <nil>
}

// The computation knows best for how long its value is good.
func ExampleSetTTL() {
	type token struct {
		Secret  string
		Expires time.Time
	}
	issue := func(context.Context) (token, error) { return token{"s3cret", time.Now().Add(time.Hour)}, nil }

	tokens, err := leash.New[token]("tokens", memstore.New(), leash.Options{TTL: time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	load := func(ctx context.Context) (token, error) {
		t, err := issue(ctx)
		if err == nil {
			leash.SetTTL(ctx, time.Until(t.Expires)-time.Minute)
		}
		return t, err
	}

	_, err = tokens.GetOrCompute(context.Background(), "billing", load)
	_, outcome, _ := tokens.Fetch(context.Background(), "billing", load)
	fmt.Println(outcome.TTL > 50*time.Minute, err)
	// Output: true <nil>
}

// Return this, but do not keep it: a search of which one part failed.
func ExampleNoStore() {
	search := func(context.Context, string) (hits []string, complete bool) { return []string{"tea"}, false }

	found, err := leash.New[[]string]("search", memstore.New(), leash.Options{TTL: time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	load := func(ctx context.Context) ([]string, error) {
		hits, complete := search(ctx, "tea")
		if !complete {
			leash.NoStore(ctx)
		}
		return hits, nil
	}

	for range 2 {
		hits, outcome, err := found.Fetch(context.Background(), "tea", load)
		fmt.Println(hits, outcome.Status, outcome.Stored, err)
	}
	// Output:
	// [tea] MISS false <nil>
	// [tea] MISS false <nil>
}

// A caller that would rather show a page without the number than wait for it.
func ExampleMaxWait() {
	totals, err := leash.New[int]("totals", memstore.New(), leash.Options{TTL: time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	began, finish := make(chan struct{}), make(chan struct{})
	slow := func(context.Context) (int, error) { close(began); <-finish; return 7, nil }
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = totals.GetOrCompute(ctx, "orders", slow) })
	<-began

	_, err = totals.GetOrCompute(ctx, "orders", slow, leash.MaxWait(10*time.Millisecond))
	if errors.Is(err, leash.ErrBusy) {
		fmt.Println("still counting")
	}
	close(finish)
	wg.Wait()
	// Output: still counting
}

// A request that asks for a new value gets one whose computation began after it
// came, and everybody who comes later has it, too.
func ExampleRefresh() {
	users, err := leash.New[User]("users", memstore.New(), leash.Options{TTL: 5 * time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	versions := 0
	load := func(context.Context) (User, error) {
		versions++
		return User{42, fmt.Sprint("version ", versions)}, nil
	}
	handler := func(w http.ResponseWriter, r *http.Request) {
		var opts []leash.Option
		if r.Header.Get("Cache-Control") == "no-cache" {
			opts = append(opts, leash.Refresh())
		}
		u, err := users.GetOrCompute(r.Context(), "42", load, opts...)
		fmt.Fprintln(w, u.Name, err)
	}

	for _, control := range []string{"", "", "no-cache", ""} {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Cache-Control", control)
		handler(w, r)
		fmt.Print(w.Body)
	}
	// Output:
	// version 1 <nil>
	// version 1 <nil>
	// version 2 <nil>
	// version 2 <nil>
}

// Bypass leaves the cache out of it, for one caller: to look what the source says
// now.
func ExampleBypass() {
	users, err := leash.New[User]("users", memstore.New(), leash.Options{TTL: time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	if err := users.Set(ctx, "42", User{42, "in the cache"}); err != nil {
		log.Fatal(err)
	}
	load := func(context.Context) (User, error) { return User{42, "in the database"}, nil }
	u, _ := users.GetOrCompute(ctx, "42", load, leash.Bypass())
	v, _ := users.GetOrCompute(ctx, "42", load)
	fmt.Println(u.Name, "-", v.Name)
	// Output: in the database - in the cache
}

// A Loader has typed keys and one function, so no call can get them wrong. Here
// its values have TTLs of their own.
func ExampleLoader() {
	db := openDatabase(User{1, "root"}, User{42, "Ann"})
	defer db.Close()

	cache, err := leash.New[User]("users", memstore.New(), leash.Options{TTL: 5 * time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	userByID := leash.Loader[int64, User]{
		Cache: cache,
		Load:  db.UserByID,
		TTL: func(id int64, u User) time.Duration {
			if u.Name == "root" {
				return 10 * time.Second // changes must be seen soon
			}
			return 5 * time.Minute
		},
	}

	ctx := context.Background()
	for _, id := range []int64{1, 42} {
		u, err := userByID.Get(ctx, id)
		_, outcome, _ := userByID.Fetch(ctx, id)
		fmt.Println(u.Name, outcome.TTL < time.Minute, err)
	}
	// Output:
	// root true <nil>
	// Ann false <nil>
}

// A key may be a struct: its parts are joined so that different keys never look
// the same.
func ExampleLoader_Get() {
	type page struct {
		Tenant string
		Path   string
	}
	cache, err := leash.New[string]("pages", memstore.New(), leash.Options{TTL: time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	pages := leash.Loader[page, string]{Cache: cache, Load: func(_ context.Context, p page) (string, error) {
		return p.Path + " of " + p.Tenant, nil
	}}
	a, _ := pages.Get(context.Background(), page{"a|b", "c"})
	b, _ := pages.Get(context.Background(), page{"a", "b|c"})
	fmt.Println(a, "-", b)
	// Output: c of a|b - b|c of a
}

// Fetch tells how the call was answered.
func ExampleLoader_Fetch() {
	db := openDatabase(User{42, "Ann"})
	defer db.Close()
	cache, err := leash.New[User]("users", memstore.New(), leash.Options{TTL: time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	userByID := leash.Loader[int64, User]{Cache: cache, Load: db.UserByID}
	for range 2 {
		u, outcome, err := userByID.Fetch(context.Background(), 42)
		fmt.Println(u.Name, outcome.Status, err)
	}
	// Output:
	// Ann MISS <nil>
	// Ann HIT <nil>
}

// Many keys: what is stored is read in one trip, and the rest is one query. Keys
// that are not found are missing in the result.
func ExampleLoader_GetMany() {
	db := openDatabase(User{1, "Ann"}, User{2, "Bob"}, User{3, "Cid"})
	defer db.Close()
	cache, err := leash.New[User]("users", memstore.New(), leash.Options{TTL: time.Minute})
	if err != nil {
		log.Fatal(err)
	}

	userByID := leash.Loader[int64, User]{
		Cache:    cache,
		Load:     db.UserByID,
		LoadMany: db.UsersByID,
	}
	ctx := context.Background()
	_, _ = userByID.Get(ctx, 1)
	users, err := userByID.GetMany(ctx, []int64{1, 2, 3, 99})
	if failed, ok := errors.AsType[leash.KeyErrors[int64]](err); ok {
		log.Print("without ", slices.Collect(maps.Keys(failed)), ": ", err)
	}

	fmt.Println(len(users), users[3].Name, err)
	fmt.Println("queries:", db.queries())
	// Output:
	// 3 Cid <nil>
	// queries: 2
}

// Set takes the same keys as Get.
func ExampleLoader_Set() {
	db := openDatabase(User{42, "Ann"})
	defer db.Close()
	cache, err := leash.New[User]("users", memstore.New(), leash.Options{TTL: time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	userByID := leash.Loader[int64, User]{Cache: cache, Load: db.UserByID}
	ctx := context.Background()
	fmt.Println(userByID.Set(ctx, 42, User{42, "Bob"}))
	u, err := userByID.Get(ctx, 42)
	fmt.Println(u.Name, err)
	// Output:
	// <nil>
	// Bob <nil>
}

// Delete takes the same keys as Get.
func ExampleLoader_Delete() {
	db := openDatabase(User{42, "Ann"})
	defer db.Close()
	cache, err := leash.New[User]("users", memstore.New(), leash.Options{TTL: time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	userByID := leash.Loader[int64, User]{Cache: cache, Load: db.UserByID}
	ctx := context.Background()
	_, _ = userByID.Get(ctx, 42)
	fmt.Println(userByID.Delete(ctx, 42))
	_, _ = userByID.Get(ctx, 42)
	fmt.Println("queries:", db.queries())
	// Output:
	// <nil>
	// queries: 2
}

// metrics is an Observer for the standard library's expvar. Neither a key nor a
// value is ever in an event, so the labels are few.
type metrics struct {
	events  expvar.Map // by cache and kind
	results expvar.Map // of computations, by cache and result
	errors  expvar.Map // of the store, by cache and step
	seconds expvar.Map // spent in computations, by cache
}

func (m *metrics) Observe(e leash.Event) {
	m.events.Add(e.Cache+" "+e.Kind.String(), 1)
	if e.Kind == leash.EventCompute {
		m.results.Add(e.Cache+" "+e.Result.String(), 1)
		m.seconds.AddFloat(e.Cache, e.Duration.Seconds())
	}
	if e.Kind == leash.EventStoreError {
		m.errors.Add(e.Cache+" "+e.Op.String(), 1)
	}
}

// An Observer of twenty lines, for any metrics library.
func ExampleObserver() {
	var m metrics
	users, err := leash.New[User]("users", memstore.New(), leash.Options{TTL: time.Minute, Observer: &m})
	if err != nil {
		log.Fatal(err)
	}
	for range 3 {
		_, _ = users.GetOrCompute(context.Background(), "42", func(context.Context) (User, error) {
			return User{42, "Ann"}, nil
		})
	}
	fmt.Println(m.events.String())
	fmt.Println(m.results.String())
	// Output:
	// {"users compute": 1, "users hit": 2, "users leased": 1, "users miss": 1}
	// {"users value": 1}
}

// LogTo writes events to a slog.Logger: warnings for what an operator should look
// at, the rest for debugging.
func ExampleLogTo() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: withoutTimes}))
	users, err := leash.New[User]("users", memstore.New(), leash.Options{
		TTL:      time.Minute,
		Observer: leash.LogTo(logger),
	})
	if err != nil {
		log.Fatal(err)
	}
	_, _ = users.GetOrCompute(context.Background(), "42", func(context.Context) (User, error) {
		return User{}, errors.New("no database")
	})
	// Output: level=WARN msg="leash: compute" cache=users result=error err="no database"
}

// withoutTimes leaves out what differs from run to run.
func withoutTimes(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey || a.Key == "duration" {
		return slog.Attr{}
	}
	return a
}

// Your own code is tested without a server and without waiting: a memstore stands
// for Redis, two caches on it for two nodes, and in a synctest bubble five
// minutes take no time. The bubble also fails if a goroutine is left behind.
func TestUserCodeInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		queries := 0
		newNode := func() leash.Loader[int64, User] {
			cache, err := leash.New[User]("users", store, leash.Options{TTL: 5 * time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := cache.Close(context.Background()); err != nil {
					t.Error(err)
				}
			})
			return leash.Loader[int64, User]{Cache: cache, Load: func(_ context.Context, id int64) (User, error) {
				queries++ // never two at a time, so no lock
				time.Sleep(100 * time.Millisecond)
				return User{id, "Ann"}, nil
			}}
		}
		a, b := newNode(), newNode()

		var wg sync.WaitGroup
		for i := range 200 {
			node := []leash.Loader[int64, User]{a, b}[i%2]
			wg.Go(func() {
				if u, err := node.Get(t.Context(), 42); err != nil || u.Name != "Ann" {
					t.Errorf("got %v, %v", u, err)
				}
			})
		}
		wg.Wait()
		if queries != 1 {
			t.Errorf("%d queries for 200 calls on two nodes, want 1", queries)
		}

		time.Sleep(5 * time.Minute)
		if _, err := b.Get(t.Context(), 42); err != nil || queries != 2 {
			t.Errorf("after the TTL: %d queries, %v", queries, err)
		}
	})
}

// What follows stands for a database server and an HTTP client.

// get asks h for path and returns status and body.
func get(h http.Handler, path string) string {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	body, _ := io.ReadAll(w.Body)
	return fmt.Sprint(w.Code, " ", strings.TrimSpace(string(body)))
}

// Database is a sql.DB with one table.
type Database struct {
	*sql.DB
	users *usersTable
}

func openDatabase(users ...User) Database {
	t := &usersTable{names: map[int64]string{}}
	for _, u := range users {
		t.names[u.ID] = u.Name
	}
	return Database{sql.OpenDB(t), t}
}

func (db Database) queries() int {
	db.users.mu.Lock()
	defer db.users.mu.Unlock()
	return db.users.queries
}

// usersTable is a driver for database/sql that knows the examples' statements by
// their arguments. It is its own connector, connection and transaction.
type usersTable struct {
	mu      sync.Mutex
	names   map[int64]string
	queries int
}

func (t *usersTable) Connect(context.Context) (driver.Conn, error) { return t, nil }
func (t *usersTable) Driver() driver.Driver                        { return nil }
func (t *usersTable) Prepare(string) (driver.Stmt, error)          { return nil, driver.ErrSkip }
func (t *usersTable) Begin() (driver.Tx, error)                    { return t, nil }
func (t *usersTable) Commit() error                                { return nil }
func (t *usersTable) Rollback() error                              { return nil }
func (t *usersTable) Close() error                                 { return nil }
func (t *usersTable) CheckNamedValue(*driver.NamedValue) error     { return nil }

func (t *usersTable) QueryContext(_ context.Context, _ string, args []driver.NamedValue) (driver.Rows, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queries++
	ids, many := args[0].Value.([]int64)
	if !many {
		ids = []int64{args[0].Value.(int64)}
	}
	var rows userRows
	for _, id := range ids {
		if name, ok := t.names[id]; ok {
			rows = append(rows, User{id, name})
		}
	}
	return &rows, nil
}

func (t *usersTable) ExecContext(_ context.Context, _ string, args []driver.NamedValue) (driver.Result, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.names[args[0].Value.(int64)] = args[1].Value.(string)
	return driver.RowsAffected(1), nil
}

type userRows []User

func (r *userRows) Columns() []string { return []string{"id", "name"} }
func (r *userRows) Close() error      { return nil }

func (r *userRows) Next(dest []driver.Value) error {
	if len(*r) == 0 {
		return io.EOF
	}
	dest[0], dest[1] = (*r)[0].ID, (*r)[0].Name
	*r = (*r)[1:]
	return nil
}
