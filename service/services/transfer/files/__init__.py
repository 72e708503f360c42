"""Files that people and programs send: CSV in any dialect, workbooks. Rows of our notation."""

from services.transfer.files.pieces import Row
from services.transfer.files.reading import BadReading, Reading
from services.transfer.files.table import Table, open_table

__all__ = ["BadReading", "Reading", "Row", "Table", "open_table"]
