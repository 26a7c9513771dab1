// Package early does something while it is initialised.
package early

import (
	"os"
	"strconv"
	"strings"

	"example.org/truth/truth"
)

func init() {
	if len(os.Args) < 2 || !strings.HasPrefix(os.Args[1], "early") {
		return
	}
	steps := 0
	if len(os.Args) > 2 {
		steps, _ = strconv.Atoi(os.Args[2])
	}
	for i := 0; i < steps || os.Args[1] == "early"; i++ {
		early()
	}
	if os.Args[1] == "early-exit" {
		os.Exit(4)
	}
	panic("early")
}

func early() {
	truth.Add(truth.Early) // truth: early
}
