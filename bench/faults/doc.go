// Command faults ...
package main

func main() {}
