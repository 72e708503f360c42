"""Tables for people with spreadsheets: a workbook (XLSX), or CSV as the Excel of a locale reads it.

    table       columns with their types, rows in chunks, and what the table is of
    cells       what becomes of a value: a number or a date if that is exact, otherwise text
    workbook    the table as XLSX, with a sheet "About"
    excel_csv   the table as CSV of a locale
    book        the subscriptions of a filter as a table, with the columns of a book's file
    answering   a table as an answer of the API

docs/decisions/0028-spreadsheets-out.md has the reasons.
"""
