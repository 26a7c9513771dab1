// Calls Tick as often as TICKS says, then ends well when it is told to.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"example.org/gotick/count"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	times, err := strconv.Atoi(os.Getenv("TICKS"))
	if err != nil {
		fmt.Println("TICKS is no number:", err)
		os.Exit(2)
	}
	for number := range times {
		count.Tick(number)
	}
	fmt.Println("counted")
	<-stop
}
