// SPDX-License-Identifier: Apache-2.0

//go:build race

package codec_test

// raceEnabled: the race detector makes pools forget, so allocations say nothing.
const raceEnabled = true
