// Package count has what is counted.
package count

var sum int

// Tick is called once a tick.
func Tick(number int) {
	sum += number
	if number%3 == 0 {
		sum++
	}
}

// Never is not called.
func Never() int {
	return sum
}
