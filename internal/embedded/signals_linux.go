package embedded

import (
	"syscall"
	"unsafe"
)

// keepSignals runs f, a call that makes the engine reset the handlers of the
// deadly signals, and puts Go's own back afterwards. Without that a nil
// dereference anywhere in the program would kill the process instead of
// becoming a panic that a handler can recover from.
func keepSignals(f func()) {
	signals := [...]syscall.Signal{
		syscall.SIGABRT, syscall.SIGSEGV, syscall.SIGILL, syscall.SIGBUS,
		syscall.SIGSYS, syscall.SIGFPE, syscall.SIGTSTP, syscall.SIGTRAP,
	}
	var saved [len(signals)]kernelSigaction
	for i, signal := range signals {
		rtSigaction(signal, nil, &saved[i])
	}
	f()
	for i, signal := range signals {
		rtSigaction(signal, &saved[i], nil)
	}
}

// kernelSigaction is the kernel's struct sigaction, kept as it came: handler,
// flags, restorer and a 64-bit mask on amd64 and arm64 alike.
type kernelSigaction [4]uint64

func rtSigaction(signal syscall.Signal, set, old *kernelSigaction) {
	const maskBytes = 8
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(signal),
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), maskBytes, 0, 0)
}
