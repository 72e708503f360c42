#!/bin/sh
# openpyxl 3.1.5: a text such as "PLAN_x0041_" is stored in a workbook as it is, and there the part
# "_x0041_" means the letter A. Another reader (python-calamine 0.9.1 here) gets "PLANA".
#
# XlsxWriter 3.3.1 escapes the underscore ("_x005F_x0041_"), and both readers get back what was given.
# openpyxl reads its own file unchanged, so a test that writes and reads with it sees nothing.
#
# Why it matters: product codes and ids of other systems have underscores and hexadecimal parts. A price
# list that openpyxl has written names another product to whoever reads the file by its rules.
# Way out: put "_x005F" before each underscore that begins such a part.
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

CODE = "PLAN_x0041_"
folder = sys.argv[1]
by_openpyxl, by_xlsxwriter = f"{folder}/a.xlsx", f"{folder}/b.xlsx"
book = openpyxl.Workbook()
book.active["A1"] = CODE
book.save(by_openpyxl)
with xlsxwriter.Workbook(by_xlsxwriter) as other:
    other.add_worksheet().write_string(0, 0, CODE)

seen = {}
for writer, path in (("openpyxl", by_openpyxl), ("XlsxWriter", by_xlsxwriter)):
    [[calamine]] = CalamineWorkbook.from_path(path).get_sheet_by_index(0).to_python()
    seen[writer] = (openpyxl.load_workbook(path).active["A1"].value, calamine)
    print(f"{writer:10} read by openpyxl {seen[writer][0]:12} by calamine {seen[writer][1]}")
assert seen == {"openpyxl": (CODE, "PLANA"), "XlsxWriter": (CODE, CODE)}, seen
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder"
