-- How many tokens of a model one o200k token made, as its provider reported them.

CREATE TABLE calibration (
    model      TEXT    NOT NULL,
    speciality TEXT    NOT NULL,
    factor     REAL    NOT NULL,
    samples    INTEGER NOT NULL,
    PRIMARY KEY (model, speciality)
) STRICT, WITHOUT ROWID;
