// Command truth counts what it does by hand, and ends as it is told.
package main

import (
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"syscall"

	_ "example.org/truth/early"
	"example.org/truth/truth"
)

func main() {
	end, steps, threads := argument(1, "clean"), number(2, 1000), number(3, 1)
	terminated := make(chan os.Signal, 1)
	if end == "term" {
		signal.Notify(terminated, syscall.SIGTERM)
	}
	switch end {
	case "eat":
		go eat()
	case "fill":
		if err := os.WriteFile(os.Getenv("FILL_DIR")+"/full", make([]byte, 8<<20), 0o644); err != nil {
			panic(err)
		}
	}
	var group sync.WaitGroup
	for range threads {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := 0; i < steps || steps == 0; i++ {
				step(i)
			}
		}()
	}
	group.Wait()
	fmt.Println("ready")
	switch end {
	case "exit":
		os.Exit(3)
	case "panic":
		panic("as told")
	case "fatal":
		log.Fatal("as told")
	case "kill":
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "term":
		<-terminated
		truth.Add(truth.Handler) // truth: handler
	case "exec":
		args := []string{os.Args[0], "clean", strconv.Itoa(steps), strconv.Itoa(threads)}
		panic(syscall.Exec("/proc/self/exe", args, os.Environ()))
	case "spawn":
		child := exec.Command("/proc/self/exe", "kill", strconv.Itoa(steps), strconv.Itoa(threads))
		fmt.Println(child.Run())
	}
}

func eat() {
	for eaten := [][]byte{}; ; {
		piece := make([]byte, 1<<20)
		for i := range piece {
			piece[i] = 1
		}
		eaten = append(eaten, piece)
	}
}

func step(i int) {
	truth.Add(truth.Step) // truth: step
	if i%2 == 0 {
		truth.Add(truth.Even) // truth: even
	} else {
		truth.Add(truth.Odd) // truth: odd
	}
}

func argument(at int, otherwise string) string {
	if at < len(os.Args) {
		return os.Args[at]
	}
	return otherwise
}

func number(at, otherwise int) int {
	if n, err := strconv.Atoi(argument(at, "")); err == nil {
		return n
	}
	return otherwise
}
