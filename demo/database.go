// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"math/rand/v2"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	// SQLite as Go code, so that the demo needs no C compiler. Of the two drivers
	// of that kind this one takes longer to build the first time (33 s of one core
	// against 13 s for ncruces/go-sqlite3 0.30) and starts at once in every node,
	// where the other compiles WebAssembly first (1 ms against 2 s on a busy
	// machine). The first is paid once, the second by five processes in each run.
	"modernc.org/sqlite"
)

const (
	shopCount = 8
	hotShop   = 1

	// A query is to take about queryTime on one core. So many rows are made.
	queryTime = 100 * time.Millisecond
	fewRows   = 50_000 // enough to measure how long a row takes
	mostRows  = 800_000

	// connections per node: four nodes have as many as a database server with a
	// few cores is usually given.
	connections = 2
)

// shops are the shops that are asked for: a hot one and a few others.
func shops() []int64 { return []int64{hotShop, 2, 3} }

const schema = `CREATE TABLE sales (
	shop     INTEGER NOT NULL,
	product  INTEGER NOT NULL,
	customer INTEGER NOT NULL,
	cents    INTEGER NOT NULL
)`

// bestSellers is the expensive query: a scan, an aggregation, a count of
// distinct values. executed is a function of ours that returns its first argument;
// as the subquery does not depend on the row, SQLite calls it once per execution.
const bestSellers = `
SELECT product, count(*), count(DISTINCT customer), sum(cents)
FROM sales WHERE shop = (SELECT executed(?, ?))
GROUP BY product ORDER BY sum(cents) DESC, product LIMIT 5`

// query is one execution of bestSellers.
type query struct {
	Shop  int64
	Start time.Time
	End   time.Time // zero while it runs, and if it failed
}

// ledger lists the queries that SQLite executed in this process.
type ledger struct {
	mu      sync.Mutex
	queries []query
	index   map[int64]int // in queries, by the number of the call
}

// executed is filled by SQLite itself, from inside of the running query: what
// does not reach the database is not in it, and what does can not avoid it. The
// database of this demo runs inside the nodes, so each has a part of the count.
var executed = ledger{index: map[int64]int{}}

func init() {
	sqlite.MustRegisterScalarFunction("executed", 2, func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
		shop, _ := args[0].(int64)
		call, _ := args[1].(int64)
		executed.begin(shop, call)
		return shop, nil
	})
}

func (l *ledger) begin(shop, call int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.index[call] = len(l.queries)
	l.queries = append(l.queries, query{Shop: shop, Start: time.Now()})
}

// end notes that the query of a call has succeeded.
func (l *ledger) end(call int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i, ok := l.index[call]; ok {
		l.queries[i].End = time.Now()
	}
}

func (l *ledger) since(t time.Time) []query {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, q := range l.queries {
		if !q.Start.Before(t) {
			return append([]query(nil), l.queries[i:]...)
		}
	}
	return nil
}

// database is a pool of connections to the one database file.
type database struct {
	*sql.DB
	inside atomic.Int64 // calls of report that have not returned
}

// openDatabase opens a file that nobody writes to any more.
func openDatabase(file string) (*database, error) {
	db, err := sql.Open("sqlite", fileURL(file, "mode=ro&immutable=1"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return &database{DB: db}, nil
}

func fileURL(file, query string) string {
	path := filepath.ToSlash(file)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // a drive letter
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: query}).String()
}

// running is how many calls of report have not returned.
func (db *database) running() int { return int(db.inside.Load()) }

// report makes the report of one shop: this is what is expensive.
func (db *database) report(ctx context.Context, shop int64) (Report, error) {
	db.inside.Add(1)
	defer db.inside.Add(-1)
	return report(ctx, db, shop)
}

type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

var calls atomic.Int64 // numbers them

func report(ctx context.Context, db queryer, shop int64) (r Report, err error) {
	call := calls.Add(1)
	defer func() {
		if err == nil {
			executed.end(call)
		}
	}()
	r.Shop = shop
	rows, err := db.QueryContext(ctx, bestSellers, shop, call)
	if err != nil {
		return r, err
	}
	defer rows.Close()
	for rows.Next() {
		var p Product
		if err := rows.Scan(&p.ID, &p.Sales, &p.Customers, &p.Cents); err != nil {
			return r, err
		}
		r.Products = append(r.Products, p)
	}
	return r, rows.Err()
}

// size is what fill has made.
type size struct {
	rows  int
	query time.Duration // on an idle machine
}

// fill makes the database: first a few rows, to see how long a query takes with
// them, then as many as make it take queryTime. All in one transaction.
func fill(ctx context.Context, file string) (size, error) {
	// Without a journal: if this fails, the file is thrown away.
	db, err := sql.Open("sqlite", fileURL(file, "_pragma=journal_mode(OFF)&_pragma=synchronous(OFF)"))
	if err != nil {
		return size{}, err
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return size{}, err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	if _, err := tx.ExecContext(ctx, schema); err != nil {
		return size{}, err
	}
	s := size{rows: fewRows}
	random := rand.New(rand.NewPCG(1, 2)) // the same rows in each run
	if err := insert(ctx, tx, random, fewRows); err != nil {
		return s, err
	}
	if s.query, err = measure(ctx, tx); err != nil {
		return s, err
	}
	s.rows = min(int(float64(fewRows)*float64(queryTime)/float64(s.query)), mostRows)
	if err := insert(ctx, tx, random, s.rows-fewRows); err != nil {
		return s, err
	}
	if s.query, err = measure(ctx, tx); err != nil {
		return s, err
	}
	return s, tx.Commit()
}

func insert(ctx context.Context, tx *sql.Tx, random *rand.Rand, rows int) error {
	statement, err := tx.PrepareContext(ctx, "INSERT INTO sales VALUES (?, ?, ?, ?)")
	if err != nil {
		return err
	}
	defer statement.Close()
	for range rows {
		_, err := statement.ExecContext(ctx, 1+random.Int64N(shopCount), random.Int64N(200), random.Int64N(50_000), 100+random.Int64N(10_000))
		if err != nil {
			return err
		}
	}
	return nil
}

// measure returns how long a query takes: the shortest of five, because others
// on this machine can only make it longer.
func measure(ctx context.Context, db queryer) (time.Duration, error) {
	var shortest time.Duration
	for i := range 5 {
		start := time.Now()
		if _, err := report(ctx, db, hotShop); err != nil {
			return 0, err
		}
		if took := time.Since(start); i == 0 || took < shortest {
			shortest = took
		}
	}
	return shortest, nil
}

// answers are the right reports, made by asking the database.
func answers(ctx context.Context, file string) (map[int64]Report, error) {
	db, err := openDatabase(file)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	all := map[int64]Report{}
	for _, shop := range shops() {
		if all[shop], err = db.report(ctx, shop); err != nil {
			return nil, err
		}
	}
	return all, nil
}
