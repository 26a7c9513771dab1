// Package truth counts by hand, in a file that is mapped into memory.
package truth

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// Names of counts, by their place in the file.
const (
	Early = iota + 1
	Step
	Even
	Odd
	Handler
)

const size = 4096

var counts = open()

func open() []byte {
	dir := os.Getenv("TRUTH_DIR")
	if dir == "" {
		return make([]byte, size)
	}
	name := fmt.Sprintf("%s/truth.%d.%d", dir, os.Getpid(), time.Now().UnixNano())
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	if _, err := file.Write(make([]byte, size)); err != nil {
		panic(err)
	}
	mapped, err := syscall.Mmap(int(file.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	return mapped
}

// Add counts one.
func Add(name int) {
	atomic.AddUint64((*uint64)(unsafe.Pointer(&counts[8*name])), 1)
}
