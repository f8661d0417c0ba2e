package e2e

import (
	"os/exec"
	"syscall"
)

// dieWithUs has the kernel kill a process when this program ends without having done so, as when its time is up.
func dieWithUs(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
