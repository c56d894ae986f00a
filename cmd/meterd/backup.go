package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/meterd/meterd/internal/embedded"
)

// backupCmd copies the embedded system's data.
type backupCmd struct {
	Dir string `arg:"" help:"Folder for the backup: empty, or one that doesn't exist."`
}

// restoreCmd makes a data folder of a backup.
type restoreCmd struct {
	Dir string `arg:"" help:"The backup."`
}

// copied is what both print.
type copied struct {
	Dir     string `json:"dir"`
	Files   int    `json:"files"`
	Bytes   int64  `json:"bytes"`
	Version string `json:"version"` // of the meterd that made the backup
	MadeAt  string `json:"made_at"`
}

// Run implements the command.
func (c *backupCmd) Run(a *app) error {
	if err := a.onlyEmbedded(); err != nil {
		return err
	}
	progress, end := a.progress("bytes copied")
	m, err := embedded.Backup(a.ctx, a.Data, c.Dir, version, time.Now(), progress) //nolint:forbidigo // the machine's own time
	end()
	if err != nil {
		return backupError(err)
	}
	return a.showCopied("backed up to", c.Dir, m)
}

// Run implements the command.
func (c *restoreCmd) Run(a *app) error {
	if err := a.onlyEmbedded(); err != nil {
		return err
	}
	progress, end := a.progress("bytes copied")
	m, err := embedded.Restore(a.ctx, c.Dir, a.Data, progress)
	end()
	if err != nil {
		return backupError(err)
	}
	return a.showCopied("restored into", a.Data, m)
}

// onlyEmbedded refuses where real servers are meant, which have backups of their own.
func (a *app) onlyEmbedded() error {
	if a.Redis != "" || a.ClickHouse != "" {
		return wrongInput("this is for the embedded system; of real servers ClickHouse makes the backup: see docs/operators.md#backup-and-restore")
	}
	return nil
}

// backupError gives an error its exit code.
func backupError(err error) error {
	if errors.Is(err, embedded.ErrNoSystem) || errors.Is(err, embedded.ErrNoBackup) {
		return &inputError{err: err}
	}
	return err
}

func (a *app) showCopied(what, dir string, m *embedded.BackupManifest) error {
	v := copied{Dir: dir, Bytes: m.Bytes, Version: m.Version, MadeAt: m.MadeAt.UTC().Format(time.RFC3339)}
	for i := range m.Files {
		if m.Files[i].SHA256 != "" {
			v.Files++
		}
	}
	if a.JSON {
		return a.printJSON(v)
	}
	_, err := fmt.Fprintf(a.out, "%s %s: %d files, %d bytes, by meterd %s at %s\n", what, v.Dir, v.Files, v.Bytes, v.Version, v.MadeAt)
	return err
}
