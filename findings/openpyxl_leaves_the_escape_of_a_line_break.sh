#!/bin/sh
# openpyxl 3.1.5: a cell of two lines, divided by CR LF, comes as "one_x000D_\ntwo". Workbooks store
# characters that XML can't hold as "_xHHHH_"; openpyxl undoes none of these but "_x005F_".
#
# XlsxWriter 3.3.1 wrote the cell, as the format says. python-calamine 0.9.1 reads "one\r\ntwo".
#
# Why it matters: addresses and comments of two lines, from a system that ends lines with CR LF, are then
# another text than in the book: an import of the same list finds a difference in each of them, or writes
# "_x000D_" into them.
# Way out: replace "_xHHHH_" by its character, from left to right, after reading.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    "openpyxl==3.1.5" "XlsxWriter==3.3.1" "python-calamine==0.9.1"
cat > "$folder/look.py" <<'PYTHON'
import sys

import openpyxl
import xlsxwriter
from python_calamine import CalamineWorkbook

path = f"{sys.argv[1]}/a.xlsx"
with xlsxwriter.Workbook(path) as book:
    book.add_worksheet().write_string(0, 0, "one\r\ntwo")
by_openpyxl = [openpyxl.load_workbook(path, read_only=way).active["A1"].value for way in (0, 1)]
[[by_calamine]] = CalamineWorkbook.from_path(path).get_sheet_by_index(0).to_python()
print(f"openpyxl {by_openpyxl}\ncalamine {by_calamine!r}")
assert by_openpyxl == ["one_x000D_\ntwo"] * 2, by_openpyxl
assert by_calamine == "one\r\ntwo", by_calamine
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder"
