// What counting costs: work for the processor (`cpu N`), and requests over
// loopback (`io N`), which is what an operator does.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
)

func main() {
	count, err := strconv.ParseUint(os.Args[2], 10, 64)
	must(err)
	switch os.Args[1] {
	case "cpu":
		fmt.Println(cpu(count))
	case "io":
		fmt.Println(io(count))
	default:
		panic("cpu or io, not " + os.Args[1])
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// Many small functions and branches: the worst case for counters.
func cpu(count uint64) uint64 {
	words := map[string]uint64{}
	var sum uint64
	for number := range count {
		sum += mix(number)
		words[word(sum)]++
	}
	var all uint64
	for _, name := range []string{"both", "five", "none", "three"} {
		all = mix(all ^ words[name])
	}
	return sum ^ all ^ sieve(count/2)
}

func mix(number uint64) uint64 {
	number = (number ^ (number >> 33)) * 0xff51afd7ed558ccd
	return number ^ (number >> 33)
}

func word(number uint64) string {
	if number%15 == 0 {
		return "both"
	} else if number%5 == 0 {
		return "five"
	} else if number%3 == 0 {
		return "three"
	}
	return "none"
}

func sieve(count uint64) uint64 {
	composite := make([]bool, count)
	var found uint64
	for number := uint64(2); number < count; number++ {
		if !composite[number] {
			found++
			for multiple := number * number; multiple < count; multiple += number {
				composite[multiple] = true
			}
		}
	}
	return found
}

// A server with a goroutine for each of two clients; each waits for its answer.
func io(count uint64) uint64 {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	var served, asked sync.WaitGroup
	served.Go(func() {
		for range 2 {
			conn, err := listener.Accept()
			must(err)
			served.Go(func() { serve(conn) })
		}
	})
	sums := make([]uint64, 2)
	for at := range sums {
		conn, err := net.Dial("tcp", listener.Addr().String())
		must(err)
		asked.Go(func() { sums[at] = ask(conn, count/2) })
	}
	asked.Wait()
	served.Wait()
	return sums[0] + sums[1]
}

func serve(conn net.Conn) {
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		number, err := strconv.ParseUint(lines.Text(), 10, 64)
		must(err)
		_, err = fmt.Fprintf(conn, "%d %s\n", mix(number), word(number))
		must(err)
	}
	must(conn.Close())
}

func ask(conn net.Conn, count uint64) uint64 {
	answers := bufio.NewReader(conn)
	var sum uint64
	for number := range count {
		_, err := fmt.Fprintf(conn, "%d\n", number)
		must(err)
		line, err := answers.ReadString('\n')
		must(err)
		sum += uint64(len(line))
	}
	must(conn.Close())
	return sum
}
