// SPDX-License-Identifier: Apache-2.0

// Package integration holds the tests that need several processes on real
// servers: herds, deletes against computations, crashes, rollouts, churn. They
// assert counts; what takes how long is measured by the programs in cmd.
package integration
