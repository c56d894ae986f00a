//go:build deps

// Package deps pins modules until their first use.
package deps
import (
_ "github.com/hibiken/asynq"
_ "github.com/redis/go-redis/v9"
_ "github.com/ClickHouse/clickhouse-go/v2"
_ "github.com/ClickHouse/ch-go/proto"
_ "github.com/robfig/cron/v3"
_ "github.com/shopspring/decimal"
_ "github.com/alecthomas/kong"
_ "github.com/goccy/go-yaml"
_ "github.com/ebitengine/purego"
_ "github.com/jedib0t/go-pretty/v6/table"
_ "github.com/vbauerster/mpb/v8"
_ "github.com/prometheus/client_golang/prometheus"
_ "github.com/klauspost/compress/zstd"
_ "github.com/dchest/siphash"
_ "github.com/nyaruka/phonenumbers"
_ "github.com/google/uuid"
_ "github.com/xuri/excelize/v2"
_ "github.com/standard-webhooks/standard-webhooks/libraries/go"
_ "pgregory.net/rapid"
_ "github.com/rogpeppe/go-internal/testscript"
_ "go.uber.org/goleak"
_ "github.com/stretchr/testify/require"
_ "github.com/compose-spec/compose-go/v2/loader"
_ "github.com/go-analyze/charts"
_ "golang.org/x/sync/errgroup"
_ "golang.org/x/term"
)
