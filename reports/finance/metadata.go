package finance

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// MetadataSuffix of the schema's description beside a FOCUS file.
const MetadataSuffix = ".metadata.json"

// metadata describes a FOCUS dataset and its schema (FOCUS, Metadata).
type metadata struct {
	DatasetID        string `json:"DatasetInstanceId"`
	DatasetName      string `json:"DatasetInstanceName"`
	Generator        string `json:"DataGenerator"`
	GeneratorVersion string `json:"DataGeneratorVersion"`
	Schema           schema `json:"Schema"`
	Recency          recent `json:"Recency"`
}

type schema struct {
	ID           string             `json:"SchemaId"`
	FocusVersion string             `json:"FocusVersion"`
	CreationDate string             `json:"CreationDate"`
	Columns      []columnDefinition `json:"ColumnDefinition"`
}

type columnDefinition struct {
	Name      string `json:"ColumnName"`
	Type      string `json:"DataType"`
	Precision int    `json:"NumericPrecision,omitempty"`
	Scale     *int   `json:"NumberScale,omitempty"`
	Encoding  string `json:"StringEncoding,omitempty"`
}

// recent says which of the dataset's months are complete: those that are closed.
type recent struct {
	Complete bool         `json:"DatasetInstanceComplete"`
	Sectors  []timeSector `json:"TimeSectors"`
}

type timeSector struct {
	Account  string `json:"x_BillingAccountId"`
	Start    string `json:"TimeSectorStart"`
	End      string `json:"TimeSectorEnd"`
	Complete bool   `json:"TimeSectorComplete"`
}

// schemaCreated is when the columns last changed.
const schemaCreated = "2026-11-25T00:00:00Z"

// saveMetadata writes the description of a file beside it. It tells nothing that
// changes for a closed month.
func saveMetadata(path string, o *FOCUSOptions, months []*month) error {
	s := schema{FocusVersion: o.Version, CreationDate: schemaCreated}
	for _, c := range focusColumns(o.Version) {
		d := columnDefinition{Name: c.name}
		switch c.kind {
		case number, money:
			scale := c.scale
			d.Type, d.Precision, d.Scale = "DECIMAL", precision, &scale
		case count:
			zero := 0
			d.Type, d.Precision, d.Scale = "DECIMAL", precision, &zero
		case instant:
			d.Type = "DATETIME"
		case document:
			d.Type, d.Encoding = "JSON", "UTF-8"
		case text:
			d.Type, d.Encoding = "STRING", "UTF-8"
		}
		s.Columns = append(s.Columns, d)
	}
	columns, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("describe the columns: %w", err)
	}
	s.ID = uuid.NewSHA1(uuid.NameSpaceURL, columns).String()
	m := metadata{
		DatasetID: uuid.NewSHA1(uuid.NameSpaceURL, []byte("meterd:CostAndUsage:"+cmp.Or(o.InvoiceIssuer, o.Provider))).String(), DatasetName: "CostAndUsage",
		Generator: "meterd", GeneratorVersion: "1", Schema: s, Recency: recent{Complete: true, Sectors: []timeSector{}},
	}
	for _, mo := range months {
		closed := mo.closing != nil
		m.Recency.Complete = m.Recency.Complete && closed
		m.Recency.Sectors = append(m.Recency.Sectors, timeSector{
			Account: mo.parent.ID, Start: mo.period.Start.UTC().Format(time.RFC3339), End: mo.period.End.UTC().Format(time.RFC3339), Complete: closed,
		})
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("describe the dataset: %w", err)
	}
	return saveFile(path+MetadataSuffix, append(b, '\n'))
}
