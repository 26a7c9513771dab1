// A server whose every request is other code, and a background that works all
// the time.
package main

import (
	"fmt"
	"net/http"
	"strconv"
)

func shared(number int) int {
	if number%3 == 0 {
		return third(number)
	}
	return number
}

func third(number int) int {
	return number / 3
}

func answer(w http.ResponseWriter, r *http.Request) {
	// One for `/` asks whether it is there.
	number, err := strconv.Atoi(r.URL.Path[1:])
	if err != nil {
		return
	}
	fmt.Fprintln(w, operations[number](number)+shared(number))
}

func main() {
	go work()
	panic(http.ListenAndServe(":8080", http.HandlerFunc(answer)))
}
