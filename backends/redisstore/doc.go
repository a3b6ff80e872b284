// SPDX-License-Identifier: Apache-2.0

// Package redisstore keeps the entries of a leash cache in Redis or Valkey:
//
//	users, err := leash.New[User]("users", redisstore.New(rdb), leash.Options{TTL: 5 * time.Minute})
//
// rdb is any client of go-redis but a Ring: [redis.Client], with or without
// Sentinel, [redis.ClusterClient], or the AutoPipeline of either.
//
// # What is sent
//
// One entry is one key, so nothing here minds cluster slots. In trips:
//
//	step                                      commands
//	hit, or read of a miss                    GET
//	GetMany                                   GET for each key, one pipeline per node
//	lease, nothing there                      SET key head NX GET PX ttl
//	lease, a value has come meanwhile         the same; its reply is the value
//	lease, somebody's lease on no value       the same, then EVALSHA
//	lease, the caller saw something           EVALSHA
//	first refusal in this process             in addition SUBSCRIBE, and EVALSHA once more if that was sent
//	publish, renew, abandon, delete           EVALSHA, with one PUBLISH inside for each node that waits
//	key of another type                       in addition TYPE
//
// So a cold miss is GET, SET, EVALSHA. A script that the server does not know
// costs an EVAL, once. The commands of a lease are sent once, whatever becomes of
// the reply; all others may be sent again, by this package or by go-redis.
//
// While a process waits it has one subscription, with a channel per namespace
// (the part of a key up to its first colon), and a PING each 0.9 s in which
// nothing comes. Ten seconds after the last waiter it is gone.
//
// # Servers
//
// Made for Redis 7 and later and for Valkey, tested with Redis 7.0. Redis before
// 7.0 has no SET with NX and GET: there a lease takes the script, which is found
// out once. Redis before 7.0 also refuses renewals, and an abandonment that
// leaves a value, while it is out of memory. Before 6.0 is too old.
//
// Values and leases need a server that does not lose them: a lease that is
// evicted may cost one more computation, never wrong data. A lease ends by the
// server's clock, so that clock should not be set, but slewed.
//
// On a cluster, the wake-up is a plain PUBLISH: the bus takes it to the node where
// the waiter listens, wherever the key is, also while slots move.
//
// # Rights
//
// For keys "users:...", all that is used:
//
//	ACL SETUSER app on >secret ~users:* &users:* -@all +get +set +del +type +time +pttl +pexpire +getrange +setrange +strlen +append +eval +evalsha +publish +subscribe +unsubscribe +ping
//
// and in addition, on a cluster:
//
//	ACL SETUSER app-on-cluster +cluster|slots +command
//
// Where scripts are forbidden, each step but the read and the first lease is a
// transaction (WATCH, GET, PTTL, TIME, MULTI, SET or DEL, EXEC), which is slower,
// and gives up if the key keeps changing:
//
//	ACL SETUSER plain on >secret ~users:* &users:* -@all +get +set +del +type +time +pttl +watch +unwatch +multi +exec +publish +subscribe +unsubscribe +ping
//
// Without the right to publish, to subscribe, or on the channels, waiters poll.
// Which way is taken is found out when it is first needed and said once in the log.
//
// # AutoPipeline
//
// A hit in a batch is a command that go-redis does not send again by itself, and
// neither does it the others in that batch, when a connection is lost. This
// package sends its own again; give it an AutoPipeline of its own if other
// commands of yours count on being sent again.
package redisstore
