package main

import "time"

// work is what the program does by itself.
func work() {
	for beat := 0; ; beat++ {
		if beat%2 == 0 {
			even()
		} else {
			odd()
		}
		if beat%30 == 29 {
			sweep()
		}
		time.Sleep(50 * time.Millisecond)
	}
}

var beats int

func even() {
	beats++
}

func odd() {
	beats += 2
}

// sweep is so seldom that a test may meet it or not.
func sweep() {
	beats = 0
}
