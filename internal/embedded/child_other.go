//go:build unix && !linux

package embedded

import "syscall"

// childAttributes keep a terminal's Ctrl-C from reaching the child. There is
// no parent-death signal here: the next start ends a child left behind.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
