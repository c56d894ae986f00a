package embedded

import "syscall"

// childAttributes tie the child to this process, and keep a terminal's Ctrl-C
// from reaching it: it is stopped last.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
