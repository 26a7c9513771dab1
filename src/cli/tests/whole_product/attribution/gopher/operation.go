package main

// What only one request does.

func zero(input int) int {
	return input + 0
}

func one(input int) int {
	return input + 1
}

func two(input int) int {
	return input + 2
}

func three(input int) int {
	return input + 3
}

func four(input int) int {
	return input + 4
}

func five(input int) int {
	return input + 5
}

func six(input int) int {
	return input + 6
}

func seven(input int) int {
	return input + 7
}

func eight(input int) int {
	return input + 8
}

func nine(input int) int {
	return input + 9
}

func ten(input int) int {
	return input + 10
}

func eleven(input int) int {
	return input + 11
}

var operations = []func(int) int{
	zero,
	one,
	two,
	three,
	four,
	five,
	six,
	seven,
	eight,
	nine,
	ten,
	eleven,
}
